"""The `distributed:` and `selection:` sections of a recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from ..errors import RecipeError
from ..runtime.config import Section


class FsdpConfig(Section):
    """FSDP2: every rank holds a share of the weights, their gradients and the optimizer state."""

    layers: list[str] | None = None
    """Class names of the layers to shard, such as LlamaDecoderLayer; by default the ones the model names itself."""
    reshard_after_forward: bool = True
    """Give gathered weights back between forward and backward: less memory, more communication."""
    cpu_offload: bool = False
    """Keep the shares in main memory while they are not used."""

    def arguments(self, activation_checkpointing: bool = False) -> dict[str, Any]:
        """The same as TrainingArguments write it. Layers that recompute their activations do so inside their shard: on
        the outside, as without FSDP, their weights would be gathered once more."""
        config: dict[str, Any] = {
            "version": 2,
            "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "reshard_after_forward": self.reshard_after_forward,
            "cpu_offload": self.cpu_offload,
            # Every rank writes its own share, and any other number of ranks can read them.
            "state_dict_type": "SHARDED_STATE_DICT",
        }
        if activation_checkpointing:
            config["activation_checkpointing"] = True
        if self.layers is not None:
            config["transformer_layer_cls_to_wrap"] = list(self.layers)
        return {"fsdp": True, "fsdp_config": config}


class DistributedConfig(Section):
    """How a run is spread over processes; start it with `torchrun --nproc-per-node N -m curricle run RECIPE`."""

    enabled: bool | None = None
    """Whether the run must have several processes: one is then an error, not a slower run. By default it must where
    `fsdp` is given; with `false` it need not, and `fsdp` is not looked at."""
    backend: Literal["auto", "nccl", "gloo"] = "auto"
    """What carries the sums between processes: nccl on GPUs and gloo on CPUs when `auto`."""
    world_size: Annotated[int, Field(ge=1)] | None = None
    """The number of processes that batch size and accumulation are written for. On another number the accumulation
    changes, so that a step keeps its rows; by default a step grows with the number of processes."""
    fsdp: FsdpConfig | None = None
    """Shard the model with FSDP2; without it each process holds the whole model (DDP). Needs several GPUs."""

    @property
    def several(self) -> bool:
        """Whether one process is an error."""
        return self.enabled if self.enabled is not None else self.fsdp is not None

    @property
    def sharded(self) -> FsdpConfig | None:
        """How the model is sharded; None where it is not."""
        return None if self.enabled is False else self.fsdp

    def accumulation(self, batch: int, accumulation: int, ranks: int) -> int:
        """Micro batches of a step on so many processes, so that it has the rows it was written with."""
        if self.world_size is None or self.world_size == ranks:
            return accumulation
        rows = batch * accumulation * self.world_size
        if rows % (batch * ranks):
            fitting = [n for n in range(1, rows // batch + 1) if rows // batch % n == 0]
            raise RecipeError(
                f"`distributed.world_size: {self.world_size}` makes a step of {rows} rows (`training."
                f"per_device_train_batch_size: {batch}` x `gradient_accumulation_steps: {accumulation}` x "
                f"{self.world_size}), and {ranks} processes cannot share them evenly; start "
                f"{', '.join(map(str, fitting))}, or change the batch"
            )
        return rows // (batch * ranks)


class SelectionConfig(Section):
    """Which checkpoint becomes the model, and when to stop early."""

    metric: str | None = None
    """The held-out figure that chooses the checkpoint: `loss`, `chrf`, or a figure of an `evaluation` entry that
    compares answers, such as `rouge.sum`. Without one, the model is the last step's."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """Stop after so many evaluations without a better value; without it the run goes its whole length."""
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    """How much better a value must be to count as better."""
    num_examples: Annotated[int, Field(ge=1)] | None = None
    """Judge on the first so many examples of `data.eval`, the same ones each time. By default the loss takes all,
    and a figure that has to generate answers the first 64."""
    average: Annotated[int, Field(ge=2)] | None = None
    """The model is the mean of the weights of the last so many checkpoints, that of the last step among them; without
    it, the last step's alone. `training.save_total_limit` must keep so many."""

    def averaging_problem(self, training: Mapping[str, Any]) -> tuple[tuple[str, str], str] | None:
        """Which key keeps the checkpoints from being there to average, and why; `training` with all its defaults."""
        num, kept = self.average, training.get("save_total_limit")
        if num is None:
            return None
        if self.metric is not None:
            return ("selection", "average"), f"is {num}, and `selection.metric` chooses one checkpoint; leave one out"
        if training["save_strategy"] == "no":
            return ("training", "save_strategy"), f"is no, and `selection.average: {num}` needs checkpoints; set steps"
        if kept is not None and kept < num:
            message = f"is {kept}, and `selection.average` needs the last {num} checkpoints; set it to {num} or more"
            return ("training", "save_total_limit"), message
        steps = training.get("max_steps", -1)
        if steps > 0 and training["save_strategy"] == "steps":
            return self.too_few(steps, training["save_steps"])
        return None

    def too_few(self, steps: int, save_steps: float) -> tuple[tuple[str, str], str] | None:
        """The same where it is known how many steps a run has."""
        found = num_checkpoints(steps, save_steps)
        if self.average is None or found >= self.average:
            return None
        message = (
            f"is {self.average}, but {steps} steps with `training.save_steps: {save_steps:g}` make {found} checkpoint"
            f"{'s' if found != 1 else ''}; save more often"
        )
        return ("selection", "average"), message


def num_checkpoints(steps: int, save_steps: float) -> int:
    """How many checkpoints a run of so many steps saves; an interval below 1 is a share of them.

    >>> num_checkpoints(46, 10), num_checkpoints(40, 10), num_checkpoints(40, 0.1)
    (5, 4, 10)
    """
    return math.ceil(steps / (save_steps if save_steps >= 1 else max(1, math.ceil(save_steps * steps))))
