"""Micro batches for this rank, out of one stream of rows that is the same on every rank.

A step takes `accumulation * world * rows` rows of the global stream. Micro batch m of rank r takes these of them:

    rows 2, world 2, accumulation 2      global rows of one step   0 1 | 2 3 | 4 5 | 6 7
                                         micro batch               0     0     1     1
                                         rank                      0     1     0     1

so that N ranks x b rows are 1 rank x N*b rows, row for row, and so is accumulation. Every rank draws the whole stream
(a microsecond an example) and makes tensors of its own rows only: no communication, nothing that could differ.

What a checkpoint needs is the state after the last *consumed* micro batch, and a loader may have drawn further. So the
state is never asked of the stream at save time: a short ring keeps a snapshot after each micro batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from ..curriculum.order import Order
from ..curriculum.stream import Stream, StreamState
from ..data.collation import IGNORE, collate_packed, collate_padded
from ..data.packing import Packer, pack, state_of
from ..errors import DataError, RunError

if TYPE_CHECKING:
    from ..data.table import TokenTable


@dataclass(frozen=True)
class BatchShape:
    """How rows become micro batches, steps and ranks."""

    rows: int
    """Rows of one micro batch on one rank; a row holds up to `budget` tokens, or one example without packing."""
    budget: int
    packing: Literal["none", "ordered"] = "ordered"
    lookahead: int = 256
    accumulation: int = 1
    world: int = 1
    rank: int = 0
    pad_id: int = 0

    @property
    def rows_per_micro(self) -> int:
        """Over all ranks."""
        return self.rows * self.world

    @property
    def rows_per_step(self) -> int:
        return self.rows_per_micro * self.accumulation

    @property
    def window(self) -> int:
        """The packer's look-ahead; with 1 every row holds one example."""
        return self.lookahead if self.packing == "ordered" else 1

    def collate(self, table: TokenTable, rows: Sequence[Sequence[int]]) -> dict[str, Any]:
        if self.packing == "ordered":
            return collate_packed(table, rows)
        return collate_padded(table, [example for row in rows for example in row], self.pad_id)

    def num_slots(self, lengths_r: npt.NDArray[np.integer]) -> int:
        """Token positions that rows of these lengths take: whole rows when packed, else padded micro batches."""
        if self.packing == "ordered":
            return len(lengths_r) * self.budget
        padded = np.zeros(-(-len(lengths_r) // self.rows) * self.rows, dtype=np.int64)
        padded[: len(lengths_r)] = lengths_r
        widths = padded.reshape(-1, self.rows).max(axis=1)
        sizes = np.full(len(widths), self.rows)
        sizes[-1] -= len(padded) - len(lengths_r)
        return int((widths * sizes).sum())


@dataclass(frozen=True)
class Drawn:
    """What one micro batch consumed, over all ranks; the material of consumed.jsonl."""

    step: int
    micro: int
    rows: tuple[tuple[int, ...], ...]
    num_tokens: int
    num_slots: int
    num_draws: int
    """Examples drawn so far, those waiting in the window included."""
    num_repeats: int
    """How many of these draws were of an example drawn before."""

    @property
    def examples(self) -> list[int]:
        return [example for row in self.rows for example in row]

    @property
    def fill(self) -> float:
        return self.num_tokens / self.num_slots


class OrderedBatches(IterableDataset[dict[str, Any]]):
    """Endless micro batches in the order's sequence. Iterating again goes on where the last iteration stood."""

    def __init__(
        self,
        table: TokenTable,
        order: Order,
        shape: BatchShape,
        *,
        total_steps: int,
        seed: int,
        pool: npt.NDArray[np.integer] | None = None,
    ) -> None:
        check_lengths(table, shape.budget)
        self.table, self.order, self.shape, self.total_steps = table, order, shape, total_steps
        self.stream = Stream(order, np.arange(len(table), dtype=np.int32) if pool is None else pool, seed)
        self._lengths = table.lengths
        self.packer = Packer(self._lengths, shape.budget, shape.window)
        self._micro = 0
        self._drawn: dict[int, Drawn] = {}
        self._snapshots: dict[int, tuple[StreamState, Any]] = {}
        self._remember()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while True:
            yield self.next_batch()

    def next_batch(self) -> dict[str, Any]:
        shape = self.shape
        step = self._micro // shape.accumulation
        draw = partial(self.stream.draw, self.progress(step))
        rows = tuple(tuple(self.packer.next_row(draw)) for _ in range(shape.rows_per_micro))
        lengths_r = np.array([self._lengths[list(row)].sum() for row in rows])
        self._drawn[self._micro] = Drawn(
            step,
            self._micro,
            rows,
            int(lengths_r.sum()),
            shape.num_slots(lengths_r),
            self.stream.num_draws,
            self.stream.num_repeats,
        )
        self._micro += 1
        self._remember()
        return shape.collate(self.table, rows[shape.rank * shape.rows :][: shape.rows])

    def progress(self, step: int) -> float:
        """Where step `step` lies in the run, from 0 to 1; what the order is asked with."""
        return min(step / self.total_steps, 1.0)

    def drawn(self, micro: int) -> Drawn:
        """The record of one of the last micro batches, numbered from 0 over the whole run."""
        return self._drawn[micro]

    def state_after(self, num_micro: int) -> dict[str, Any]:
        """The state to resume from once `num_micro` micro batches have been trained on, as JSON values.

        Call it after the order has observed the last of these steps: the order's own state is taken as it is now.
        """
        stream, packer = self._snapshots[num_micro]
        return {
            "rows": num_micro * self.shape.rows_per_micro,
            "shape": self._identity(),
            "stream": stream.to_json(),
            "packer": state_of(packer),
            "order": self.order.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after the saved micro batch, also with another split of the same step over ranks and accumulation."""
        changed = {key: (value, now) for key, now in self._identity().items() if (value := state["shape"][key]) != now}
        if changed:
            told = ", ".join(f"{key} was {was} and is {now}" for key, (was, now) in changed.items())
            raise RunError(f"the checkpoint was written with other batches: {told}; set them back, or start a new run")
        self._micro, rest = divmod(state["rows"], self.shape.rows_per_micro)
        if rest:
            raise RunError(
                f"the checkpoint lies {rest} rows inside a micro batch of {self.shape.rows_per_micro} rows over all "
                "ranks; resume with the batch size and number of processes it was written with"
            )
        self.order.load_state_dict(state["order"])
        self.stream.load_state_dict(state["stream"])
        self.packer.load_state_dict(state["packer"])
        self._drawn.clear()
        self._snapshots.clear()
        self._remember()

    def _identity(self) -> dict[str, int]:
        shape = self.shape
        return {"budget": shape.budget, "lookahead": shape.window, "rows_per_step": shape.rows_per_step}

    def _remember(self) -> None:
        self._snapshots[self._micro] = self.stream.snapshot(), self.packer.snapshot()
        keep = 2 * self.shape.accumulation + 1  # the step in training, and one a loader may have drawn ahead
        self._snapshots.pop(self._micro - keep - 1, None)
        self._drawn.pop(self._micro - keep - 1, None)


class EvaluationBatches(Dataset[dict[str, Any]]):
    """Each example once over all ranks; every rank gets the same number of batches, as collectives need.

    When there are more ranks than rows to share, a batch repeats a row with nothing to learn and no `example_ids`:
    it keeps the ranks in step and adds nothing to any sum.
    """

    def __init__(self, table: TokenTable, shape: BatchShape, pool: npt.NDArray[np.integer] | None = None) -> None:
        check_lengths(table, shape.budget)
        self.table, self.shape = table, shape
        self._rows = pack(table.lengths, shape.budget, shape.window, None if pool is None else pool.tolist())
        num_batches = -(-len(self._rows) // shape.rows_per_micro)
        parts = np.array_split(np.arange(len(self._rows)), num_batches * shape.world)
        self._parts = parts[shape.rank :: shape.world]

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, batch: int) -> dict[str, Any]:
        part = self._parts[batch]
        if len(part):
            return self.shape.collate(self.table, [self._rows[row] for row in part])
        idle = self.shape.collate(self.table, [self._rows[0]])
        return {**idle, "labels": torch.full_like(idle["labels"], IGNORE), "example_ids": []}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[batch] for batch in range(len(self)))


@dataclass(frozen=True)
class StepPlan:
    """What a number of epochs comes to."""

    steps: int
    rows: int
    draws: int
    fill: float
    documents_per_row: float
    tokens_per_step: float
    supervised_per_step: float

    @property
    def waste(self) -> float:
        """The share of token positions that hold no example's token."""
        return 1.0 - self.fill


MEASURED_DRAWS = 1_000_000


def plan_steps(
    table: TokenTable, shape: BatchShape, epochs: float, *, seed: int, pool: npt.NDArray[np.integer] | None = None
) -> StepPlan:
    """Pack `epochs` passes of the uniform order without training: how many steps they take.

    Computed once and given to every arm, so that arms are compared at equal compute. Beyond a million draws the rest
    is scaled from the first million.
    """
    check_lengths(table, shape.budget)
    stream = Stream(Order(), np.arange(len(table), dtype=np.int32) if pool is None else pool, seed)
    draws = max(1, round(epochs * (len(table) if pool is None else len(pool))))
    measured = min(draws, MEASURED_DRAWS)
    uniform = (stream.draw(0.0) for _ in range(measured))
    rows = pack(table.lengths, shape.budget, shape.window, uniform)
    num_rows = math.ceil(len(rows) * draws / measured)
    lengths_r = np.add.reduceat(table.lengths[rows.examples], rows.starts[:-1])
    per_step = shape.rows_per_step / len(rows)
    return StepPlan(
        steps=math.ceil(num_rows / shape.rows_per_step),
        rows=num_rows,
        draws=draws,
        fill=rows.stats.num_tokens / shape.num_slots(lengths_r),
        documents_per_row=measured / len(rows),
        tokens_per_step=rows.stats.num_tokens * per_step,
        supervised_per_step=float(table.num_supervised[rows.examples].sum()) * per_step,
    )


def check_lengths(table: TokenTable, budget: int) -> None:
    """Refuse, by its name, an example that no row can hold."""
    if not len(table):
        raise DataError("no example to make batches of: the table is empty; check `data` and its report")
    longest = int(np.argmax(table.lengths))
    if table.lengths[longest] > budget:
        raise DataError(
            f"example `{table.ids[longest]}` has {table.lengths[longest]} tokens and a row holds {budget}; no example "
            "is split: raise `data.max_length`, or let `data.on_long` truncate it or cut it into windows"
        )


def as_loader(batches: IterableDataset[dict[str, Any]] | Dataset[dict[str, Any]]) -> DataLoader[dict[str, Any]]:
    """A bare loader that passes ready batches through.

    Its generator is its own: a loader without one draws a seed from torch's global generator whenever it is iterated,
    and dropout after a resume would differ. It must not be prepared by accelerate, which would deal it out once more.
    """
    return DataLoader(batches, batch_size=None, num_workers=0, collate_fn=_as_is, generator=torch.Generator())


def _as_is(batch: Any) -> Any:
    return batch
