"""Micro batches for this rank, out of one stream of rows that is the same on every rank.

A step takes `accumulation * world * batch` rows of the global stream. Micro batch m of rank r takes these of them:

    batch 2, world 2, accumulation 2     global rows of one step   0 1 | 2 3 | 4 5 | 6 7
                                         micro batch               0     0     1     1
                                         rank                      0     1     0     1

so that N ranks x b rows are 1 rank x N*b rows, row for row, and accumulation changes nothing either. Every rank draws
the whole stream (about a microsecond an example) and makes tensors of its own rows only: no communication, and nothing
that could differ.

Rows do not mix passes: a pass is packed to its end before the next one begins, so that an epoch is an epoch, whatever
the look-ahead. With a few hundred examples or more this costs less than a hundredth of the fill.

What a checkpoint needs is the state after the last *consumed* micro batch, and whoever iterates may have drawn further.
So the state is never asked of the stream at save time: a short ring keeps a mark after each micro batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from ..curriculum.order import Order
from ..curriculum.pool import Pool, WeightedPool, WholePool
from ..curriculum.stream import Stream, StreamState
from ..data.packing import Packer, pack, state_of
from ..data.rows import Batch, Rows, check_lengths
from ..errors import RunError

if TYPE_CHECKING:
    from ..data.table import TokenTable


class Layout(Protocol):
    """How the rows of a step are dealt out; `transformers.TrainingArguments` is one."""

    @property
    def per_device_train_batch_size(self) -> int: ...
    @property
    def gradient_accumulation_steps(self) -> int: ...
    @property
    def world_size(self) -> int: ...
    @property
    def process_index(self) -> int: ...
    @property
    def max_steps(self) -> int: ...
    @property
    def seed(self) -> int: ...


def pool_of(table: TokenTable, rows: Rows, seed: int) -> Pool:
    """What each pass draws."""
    if rows.source_weights is None:
        return WholePool(len(table))
    return WeightedPool(table.sources, rows.source_weights or (), seed)


def rows_per_step(layout: Layout) -> int:
    return layout.gradient_accumulation_steps * layout.world_size * layout.per_device_train_batch_size


@dataclass(frozen=True, slots=True)
class Drawn:
    """What one micro batch took, over all ranks."""

    step: int
    rows: tuple[tuple[int, ...], ...]
    num_tokens: int
    num_slots: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A point between two micro batches."""

    num_rows: int
    num_repeats: int
    stream: StreamState
    packer: tuple[tuple[int, ...], tuple[int, int, int]]


class OrderedBatches(IterableDataset[Batch]):
    """Endless micro batches in the order's sequence. Iterating again goes on where the last iteration stood."""

    _drawn: dict[int, Drawn]
    _marks: dict[int, Mark]

    def __init__(self, table: TokenTable, order: Order, rows: Rows, layout: Layout) -> None:
        check_lengths(table, rows.max_length)
        self.table, self.order, self.rows, self.layout = table, order, rows, layout
        self._lengths = table.lengths
        self.stream = Stream(order, pool_of(table, rows, layout.seed), layout.seed)
        self.packer = Packer(self._lengths, rows.max_length, rows.window)
        self._begin(num_rows=0)

    # ---- drawing ----------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield self.next_batch()

    @property
    def rows_per_step(self) -> int:
        return rows_per_step(self.layout)

    def next_batch(self) -> Batch:
        layout, batch = self.layout, self.layout.per_device_train_batch_size
        mark = self._marks[self._num_drawn]
        step = mark.num_rows // self.rows_per_step
        progress = min(1.0, step / max(1, layout.max_steps))
        self.stream.admit(progress)
        draw = partial(self._draw, progress)
        rows = tuple(tuple(self.packer.next_row(draw)) for _ in range(layout.world_size * batch))
        lengths_r = np.array([self._lengths[list(row)].sum() for row in rows])
        num_slots = self.rows.num_slots(lengths_r, batch)
        self._drawn[self._num_drawn] = Drawn(step, rows, int(lengths_r.sum()), num_slots)
        self._num_drawn += 1
        self._count_repeats(rows)
        self._remember(mark.num_rows + len(rows))
        return self.rows.collate(self.table, rows[layout.process_index * batch :][:batch])

    def _draw(self, progress: float) -> int | None:
        """The next example, but none of the next pass while the packer holds some of this one."""
        if self.packer.num_waiting and not self.stream.left_in_pass:
            return None
        return self.stream.draw(progress)

    def _count_repeats(self, rows: Iterable[Iterable[int]]) -> None:
        for row in rows:
            for example in row:
                self._num_repeats += self._dealt[example]
                self._dealt[example] = 1

    def _remember(self, num_rows: int) -> None:
        snapshots = self.stream.snapshot(), self.packer.snapshot()
        self._marks[self._num_drawn] = Mark(num_rows, self._num_repeats, *snapshots)
        # Kept: the step in training, and as much again that a loader may have drawn ahead.
        old = self._num_drawn - 2 * self.layout.gradient_accumulation_steps - 2
        self._marks.pop(old, None)
        self._drawn.pop(old, None)

    # ---- what has been trained on -----------------------------------------------------------------------------------

    def consumed(self) -> None:
        """Say that one more micro batch has been trained on."""
        self._num_consumed += 1

    def rows_of_step(self, step: int) -> list[list[int]]:
        """The rows of one of the last steps over all ranks, as table indices; counted from 1, as `global_step` is."""
        return [list(row) for drawn in self._drawn.values() if drawn.step == step - 1 for row in drawn.rows]

    def progress(self) -> dict[str, float]:
        """Where the consumed micro batches have led: numbers for the step's line in the log."""
        mark = self._marks[self._num_consumed]
        _, (_, num_documents, _) = mark.packer
        last = self._drawn.get(self._num_consumed - 1)
        same_step = [drawn for drawn in self._drawn.values() if last is not None and drawn.step == last.step]
        num_slots = sum(drawn.num_slots for drawn in same_step)
        taken = [example for drawn in same_step for row in drawn.rows for example in row]
        return {
            "epoch": num_documents / len(self.stream.pool),
            "passes": max(mark.stream.pass_, 0),
            "draws": mark.stream.num_draws,
            "repeats": mark.num_repeats,
            "fill": sum(drawn.num_tokens for drawn in same_step) / num_slots if num_slots else 1.0,
            **self.order.metrics(),
            **(self.order.metrics_of(taken) if taken else {}),
        }

    # ---- resuming ---------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The state after the last consumed micro batch, as JSON values; the order's own is taken as it is now."""
        return self.state_after(self._num_consumed)

    def state_after(self, num_micros: int) -> dict[str, Any]:
        """The same after `num_micros` micro batches, counted from the start or from the last resume."""
        mark = self._marks[num_micros]
        return {
            "rows": mark.num_rows,
            "identity": self._identity(),
            "stream": mark.stream.to_json(),
            "packer": state_of(mark.packer),
            "order": self.order.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on behind the saved micro batch, also with another split of the step over ranks and accumulation."""
        changed = {key: (was, now) for key, now in self._identity().items() if (was := state["identity"][key]) != now}
        if changed:
            told = ", ".join(f"{key} was {was} and is {now}" for key, (was, now) in changed.items())
            hint = (
                " (`distributed.world_size` names the number of processes that a step's rows are written for)"
                if "rows_per_step" in changed
                else ""
            )
            raise RunError(
                f"the checkpoint was written with other batches: {told}; set them back{hint}, or start a new run"
            )
        rest = state["rows"] % (self.layout.world_size * self.layout.per_device_train_batch_size)
        if rest:
            raise RunError(
                f"the checkpoint lies {rest} rows inside a micro batch of all ranks; resume with the batch size and "
                "number of processes it was written with"
            )
        self.order.load_state_dict(state["order"])
        self.stream.load_state_dict(state["stream"])
        self.packer.load_state_dict(state["packer"])
        self._begin(state["rows"])

    def _begin(self, num_rows: int) -> None:
        self._num_drawn = self._num_consumed = 0
        self._drawn, self._marks = {}, {}
        dealt = self.stream.draws()  # what waits in the packer was drawn, but is in no row yet
        np.subtract.at(dealt, list(self.packer.snapshot()[0]), 1)
        self._dealt = bytearray(dealt > 0)
        self._num_repeats = int(dealt.sum() - (dealt > 0).sum())
        self._remember(num_rows)

    def _identity(self) -> dict[str, int]:
        rows = self.rows
        return {"max_length": rows.max_length, "lookahead": rows.window, "rows_per_step": self.rows_per_step}


@dataclass(frozen=True)
class StepPlan:
    """What a number of epochs comes to, before anything is trained."""

    steps: int
    steps_per_epoch: int
    rows: int
    documents_per_pass: int
    fill: float
    documents_per_row: float
    tokens_per_step: float
    supervised_per_step: float

    @property
    def waste(self) -> float:
        """The share of token positions that hold no example's token."""
        return 1.0 - self.fill


MEASURED_DRAWS = 1_000_000


def plan_steps(table: TokenTable, rows: Rows, layout: Layout, epochs: float) -> StepPlan:
    """Pack `epochs` passes of the uniform order without training: how many steps they take.

    Computed once and given to every arm, so that arms are compared at equal compute. Whole passes are packed, at most a
    million draws where that is more than one pass, and what is left of `epochs` is scaled from them.
    """
    check_lengths(table, rows.max_length)
    pool, lengths = pool_of(table, rows, layout.seed), table.lengths
    stream = Stream(Order(), pool, layout.seed)
    passes = min(max(1, math.ceil(epochs)), max(1, MEASURED_DRAWS // len(pool)))
    packed = [
        pack(lengths, rows.max_length, rows.window, (stream.draw(0.0) for _ in range(len(pool)))) for _ in range(passes)
    ]
    lengths_r = np.concatenate([np.add.reduceat(lengths[part.examples], part.starts[:-1]) for part in packed])
    num_supervised = sum(int(table.num_supervised[pool.slots(number)].sum()) for number in range(passes))
    num_tokens, num_rows, per_step = int(lengths_r.sum()), len(lengths_r), rows_per_step(layout)
    planned_rows = math.ceil(num_rows * epochs / passes)
    return StepPlan(
        steps=math.ceil(planned_rows / per_step),
        steps_per_epoch=math.ceil(num_rows / passes / per_step),
        rows=planned_rows,
        documents_per_pass=len(pool),
        fill=num_tokens / rows.num_slots(lengths_r, layout.per_device_train_batch_size),
        documents_per_row=passes * len(pool) / num_rows,
        tokens_per_step=num_tokens / num_rows * per_step,
        supervised_per_step=num_supervised / num_rows * per_step,
    )


def as_loader(batches: IterableDataset[Batch]) -> DataLoader[Batch]:
    """A bare loader that passes ready batches through.

    Its generator is its own: a loader without one draws a seed from torch's global generator whenever it is iterated,
    and dropout after a resume would differ. It must not be prepared by accelerate, which would deal it out once more.
    """
    return DataLoader(batches, batch_size=None, collate_fn=_as_is, generator=torch.Generator())


def _as_is(batch: Any) -> Any:
    return batch
