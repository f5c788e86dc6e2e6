"""The mean of a run's last checkpoints, as its model.

With a constant learning rate the last weights still swing around where they are going, and their mean less so. It takes
the place of a decay, which lets the examples that come last count least.

Only the schedule's checkpoints count, so that a run that was stopped and went on has the mean of the unbroken one:

    every 10 of 46 steps, stopped at 33    10  20  30  (33)  40  46
    the last 3                                     30        40  46

Weights are averaged as they were saved, file by file: ties are there once, an adapter's factors are averaged each for
itself, and sharded ranks have saved whole tensors.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import TrainerCallback

from ..errors import RunError
from ..runtime.ranks import barrier, is_main
from .checkpoints import checkpoints, fault


def scheduled(run_folder: str | Path, every: int, last: int) -> list[Path]:
    """A run's checkpoints that were due: each `every` steps, and at its `last` one."""
    steps = [(folder, int(folder.name.rpartition("-")[2])) for folder in checkpoints(run_folder)]
    return [folder for folder, step in steps if step % every == 0 or step == last]


def last_checkpoints(run_folder: str | Path, num: int, every: int, last: int) -> list[Path]:
    """The `num` last ones that were due, oldest first; all of them must be there, and whole."""
    barrier()  # the first rank writes the newest one
    found = scheduled(run_folder, every, last)[-num:]
    due = sorted({last, *range(every, last + 1, every)})[-num:]
    broken = [f"{folder.name} is not whole, {problem}" for folder in found if (problem := fault(folder))]
    if len(due) < num or [folder.name for folder in found] != [f"checkpoint-{step}" for step in due] or broken:
        there = "; ".join(broken) or f"found {', '.join(folder.name for folder in found) or 'none'}"
        raise RunError(
            f"{run_folder}: selection.average is {num} and needs the checkpoints of steps {', '.join(map(str, due))}; "
            f"{there}. Put them back, or run with --force to train again"
        )
    return found


def average_into(folder: str | Path, others: Sequence[str | Path]) -> None:
    """Give a saved model the mean of the weights of `others`, summed in float64 and cast once.

    What is no floating-point number stays as it is in `folder`.
    """
    files = sorted(Path(folder).glob("*.safetensors"))
    if not files:
        raise RunError(f"{folder} holds no .safetensors file, so there is nothing to average")
    with ExitStack() as opened:
        places = [_tensors_of(Path(other), opened) for other in others]
        for file in files:
            with safe_open(file, "pt") as whole:
                metadata, mean = whole.metadata(), {name: _mean(name, whole, places) for name in sorted(whole.keys())}
            scratch = file.with_suffix(".averaged")
            save_file(mean, scratch, metadata)
            os.replace(scratch, file)


def _tensors_of(folder: Path, opened: ExitStack) -> tuple[Path, dict[str, Any]]:
    """The file that holds each tensor of a saved model; they are mapped, not read."""
    files = [opened.enter_context(safe_open(file, "pt")) for file in sorted(folder.glob("*.safetensors"))]
    return folder, {name: file for file in files for name in sorted(file.keys())}


def _mean(name: str, model: Any, places: Sequence[tuple[Path, dict[str, Any]]]) -> Tensor:
    kept: Tensor = model.get_tensor(name)
    if not kept.is_floating_point():
        return kept
    total = torch.zeros(kept.shape, dtype=torch.float64)
    for folder, files in places:
        if name not in files:
            raise RunError(f"{folder} has no tensor {name}, which the model has; they cannot be averaged")
        tensor: Tensor = files[name].get_tensor(name)
        if tensor.shape != kept.shape:
            raise RunError(f"{folder}: {name} is {tuple(tensor.shape)}, in the model {tuple(kept.shape)}")
        total += tensor.to(torch.float64)
    return (total / len(places)).to(kept.dtype)


class KeepScheduled(TrainerCallback):
    """Stands in for the host's own removal of old checkpoints, which would let one that a stop has left push out one
    that is to be averaged."""

    def __init__(self, num: int) -> None:
        self.num = num

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if is_main():
            kept = scheduled(args.output_dir, int(state.save_steps), state.max_steps)[-self.num :]
            for folder in checkpoints(args.output_dir)[:-1]:
                if folder not in kept:
                    shutil.rmtree(folder, ignore_errors=True)
