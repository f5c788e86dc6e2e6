"""The `distributed:` and `selection:` sections of a recipe."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ..runtime.config import Section


class FsdpConfig(Section):
    """FSDP2: every rank holds a share of the weights, their gradients and the optimizer state."""

    layers: list[str] | None = None
    """Class names of the layers to shard, such as LlamaDecoderLayer; by default the ones the model names itself."""
    reshard_after_forward: bool = True
    """Give gathered weights back between forward and backward: less memory, more communication."""
    cpu_offload: bool = False
    """Keep the shares in main memory while they are not used."""

    def arguments(self) -> dict[str, Any]:
        """The same as TrainingArguments write it."""
        config: dict[str, Any] = {
            "version": 2,
            "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "reshard_after_forward": self.reshard_after_forward,
            "cpu_offload": self.cpu_offload,
        }
        if self.layers is not None:
            config["transformer_layer_cls_to_wrap"] = list(self.layers)
        return {"fsdp": True, "fsdp_config": config}


class DistributedConfig(Section):
    """How a run is spread over processes; start it with `torchrun --nproc-per-node N -m curricle run RECIPE`."""

    enabled: bool = False
    """Whether the run must have several processes; one process is then an error, not a slower run. `fsdp` asks for
    them too."""
    backend: Literal["auto", "nccl", "gloo"] = "auto"
    """What carries the sums between processes: nccl on GPUs and gloo on CPUs when `auto`."""
    fsdp: FsdpConfig | None = None
    """Shard the model with FSDP2; without it each process holds the whole model (DDP). Needs several GPUs."""


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
