"""Does the micro batch fit? Found out before the first step, on the largest one the run can meet.

One forward and backward pass goes through the longest rows, beside tensors as large as Adam's moments will be. When
memory runs out, the micro batch is halved and the accumulation doubled: the global batch, and with it every number of
the run, stays what it was.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch

from ..data.rows import Rows
from ..errors import TrainingError
from ..runtime.progress import say
from ..runtime.ranks import all_sum


class Fitting(Protocol):
    """What the search needs of a trainer."""

    accelerator: Any
    args: Any
    model: Any
    train_dataset: Any
    rows: Rows

    def losses_of(self, model: Any, inputs: dict[str, Any], examples: list[int]) -> Any: ...
    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]: ...


def longest_batch(trainer: Fitting) -> dict[str, Any]:
    """The largest micro batch that this table and these arguments can make."""
    table, rows, size = trainer.train_dataset, trainer.rows, trainer.args.per_device_train_batch_size
    by_length = np.argsort(-table.lengths, kind="stable").tolist()
    if rows.packing == "none":
        return rows.collate(table, [[i] for i in by_length[:size]])
    row, left = [], rows.max_length
    for example in by_length:
        if table.lengths[example] <= left:
            row.append(example)
            left -= int(table.lengths[example])
    return rows.collate(table, [row] * size)


def fit_batch(trainer: Fitting) -> None:
    """Shrink the micro batch until it fits, at an equal global batch; a row that does not fit alone is an error."""
    args = trainer.args
    if args.fsdp:  # the whole model on one device is just what need not fit
        return
    while not _fits(trainer):
        size = args.per_device_train_batch_size
        if size == 1:
            raise TrainingError(
                f"out of memory on one row of {trainer.rows.max_length} tokens; lower data.max_length, turn on "
                "training.activation_checkpointing, train an adapter (model.adapter), or use a smaller model"
            )
        smaller = max(divisor for divisor in range(1, size) if size % divisor == 0)
        args.per_device_train_batch_size = smaller
        args.gradient_accumulation_steps *= size // smaller
        say(
            f"out of memory at {size} rows a micro batch: going on with {smaller} row{'s'[: smaller - 1]} and "
            f"{args.gradient_accumulation_steps} accumulation steps, the global batch unchanged"
        )
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()  # what is reported later is the run's own peak


def _fits(trainer: Fitting) -> bool:
    """Whether every rank gets through one largest micro batch."""
    try:
        with _untouched(trainer):
            _try(trainer)
        failed = 0.0
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not _is_memory(error):
            raise
        failed = 1.0
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return all_sum(torch.tensor(failed, device=trainer.args.device)).item() == 0


def _try(trainer: Fitting) -> None:
    """One pass as training will do it: its precision, its checkpointing, its optimizer's states beside it."""
    model, args = trainer.model, trainer.args
    states = state_bytes(str(getattr(args.optim, "value", args.optim)))
    trained = [p for p in model.parameters() if p.requires_grad]
    beside = [torch.ones(p.numel() * states, dtype=torch.uint8, device=p.device) for p in trained]
    model.train()
    if args.activation_checkpointing:
        kwargs = dict(args.activation_checkpointing_kwargs or {})
        every, offload = kwargs.pop("every_n_layers", 1), kwargs.pop("offload", False)
        model.activation_checkpointing_enable(
            activation_checkpointing_kwargs=kwargs or None, every_n_layers=every, offload=offload
        )
    batch = trainer._prepare_inputs(longest_batch(trainer))
    examples = batch.pop("example_ids")
    for _ in range(min(2, args.gradient_accumulation_steps)):  # the second finds the first one's gradients there
        with trainer.accelerator.autocast():
            loss = trainer.losses_of(model, batch, examples).loss_sum
        loss.backward()
    del beside


def state_bytes(optimizer: str) -> int:
    """Bytes an optimizer keeps for each trained number: Adam two moments, most others about one."""
    if "8bit" in optimizer or "4bit" in optimizer:
        return 2
    return 8 if optimizer.startswith("adam") else 4


@contextmanager
def _untouched(trainer: Fitting) -> Iterator[None]:
    """Gradients, mode and random state end as they began."""
    model = trainer.model
    mode, cuda = model.training, list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices=cuda):
        try:
            yield
        finally:
            model.zero_grad(set_to_none=True)
            model.train(mode)


def _is_memory(error: BaseException) -> bool:
    """CPU allocations fail with a plain RuntimeError; its text is all that tells."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error)
