"""What `torchrun` starts on every rank: the jobs of a file, one after the other.

Importing the trainers takes seconds a process, so one launch carries many jobs. Each leaves, beside its usual files,
what this rank saw: `seen-<rank>.json`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from curricle.runtime.files import write_json
from curricle.runtime.ranks import rank
from curricle.training.config import FsdpConfig
from slow.children import Job, build


@dataclass(frozen=True)
class RankJob:
    """A job on several ranks, and what is to happen to it."""

    job: Job
    sharded: bool = False
    """FSDP2, on the CPU by the helper below."""
    recomputes: bool = False
    """Sharded layers compute their activations again in backward."""
    stop_after: int | None = None
    """End in good order after this step, long before the last."""
    kill_in: int | None = None
    """Rank 1 kills itself in the middle of this step, between two micro batches."""

    def dump(self) -> dict[str, Any]:
        return {**asdict(self), "job": {**asdict(self.job), "folder": str(self.job.folder)}}

    @classmethod
    def load(cls, row: dict[str, Any]) -> RankJob:
        return cls(**{**row, "job": Job(**{**row["job"], "folder": Path(row["job"]["folder"])})})


def carry_out(task: RankJob) -> None:
    job, sharded = task.job, task.sharded
    if sharded:
        job = replace(job, training={**job.training, **FsdpConfig().arguments(task.recomputes)})
    trainer = build(job, kind=sharded_on_cpu if sharded else None)
    witness = Witness(trainer, task)
    trainer.add_callback(witness)
    trainer.train(resume_from_checkpoint=True)
    evaluation = trainer.evaluate()
    write_json(job.folder / f"seen-{rank()}.json", {**witness.seen, "evaluation": evaluation})
    trainer.save_model(str(job.folder / "final"))


class Witness(TrainerCallback):
    """Notes, on every rank, the order of the whole step and this rank's own examples; stops or kills when told to."""

    def __init__(self, trainer: Any, task: RankJob) -> None:
        self.trainer, self.task = trainer, task
        self.seen: dict[str, Any] = {"wrapped": "", "order": [], "own": [], "losses": []}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.seen["wrapped"] = type(self.trainer.model_wrapped).__name__
        kinds = {type(module).__name__ for module in self.trainer.model.modules()}
        self.seen["recomputes"] = any(kind.endswith("CheckpointWrapper") for kind in kinds)  # sharding renames classes
        self.seen["parameters"] = sorted({type(weight.data).__name__ for weight in self.trainer.model.parameters()})

    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.task.kill_in == state.global_step + 1 and rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.seen["own"].append(list(self.trainer.books.examples))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.seen["order"].append(self.trainer.batches.rows_of_step(state.global_step))
        self.seen["losses"].append(self.trainer.monitor.last["loss"])
        control.should_training_stop |= state.global_step == self.task.stop_after


def sharded_on_cpu(host: type) -> type:
    """The trainer with FSDP2 on a CPU, where accelerate would fall back to DDP without a word.

    It reaches into accelerate's private state, which only a test may do: with an accelerator nobody needs to.
    """
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

    class Sharded(host):  # type: ignore[misc]
        def create_accelerator_and_postprocess(self) -> None:
            super().create_accelerator_and_postprocess()
            for state in (PartialState, AcceleratorState):
                state._shared_state["distributed_type"] = DistributedType.FSDP
            plugin = FullyShardedDataParallelPlugin(**self.args.fsdp_plugin_args)
            AcceleratorState._shared_state["fsdp_plugin"] = plugin
            self.is_fsdp_enabled = True

    return Sharded


if __name__ == "__main__":
    for row in json.loads(Path(sys.argv[1]).read_text()):
        carry_out(RankJob.load(row))
