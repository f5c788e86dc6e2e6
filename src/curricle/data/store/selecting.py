"""Drawing rows: exact counts by shares, without replacement, under caps, the same for a seed everywhere.

Each row has a number that the seed and its place in the file decide; in every cell the rows with the lowest numbers are
taken. So a draw needs no state, and a larger one of the same settings, without caps, holds the smaller one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import DataError, RecipeError
from ...runtime.progress import counted
from .config import Selection
from .matching import Cells, cells_of, largest_remainder, where
from .store import Store

_BLOCK = 1 << 18
_SHOWN = 12

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Cell:
    """One value of the shares (or one of each, with several columns), and what became of it."""

    name: str
    share: float
    available: int
    """Rows that pass the filters, before caps."""
    asked: int
    taken: int


@dataclass(frozen=True)
class Account:
    """What a selection took and what it did not; prints itself."""

    num_rows: int
    """Rows of the file."""
    passed: int
    """Rows that pass the filters."""
    outside: int
    """Rows that pass, but have none of the values that `shares` or `counts` name."""
    asked: int | None
    taken: int
    cells: list[Cell] = field(default_factory=list)
    cap: dict[str, int] = field(default_factory=dict)

    def remarks(self) -> list[str]:
        """What was not as asked."""
        out = []
        if self.outside:
            out.append(f"{counted(self.outside, 'row')} left out, with none of the values that the shares name")
        capped = (
            f" ({', '.join(f'at most {most} of each {name}' for name, most in self.cap.items())})" if self.cap else ""
        )
        short = [cell for cell in self.cells if cell.taken < cell.asked]
        out += [
            f"{cell.name or 'rows'}: {cell.asked:,} asked for, {cell.taken:,} taken of {cell.available:,} there{capped}"
            for cell in short[:_SHOWN]
        ]
        if len(short) > _SHOWN:
            out.append(f"and {len(short) - _SHOWN} more values were short")
        if len(self.cells) > 1 and short and self.asked is not None:
            missing = sum(cell.asked - cell.taken for cell in short)
            out.append(
                f"{self.asked:,} rows were asked for, {self.taken:,} taken"
                if self.taken < self.asked
                else f"{counted(missing, 'row')} more of the other values were taken, by their shares"
            )
        return out

    def __str__(self) -> str:
        lines = [f"{counted(self.taken, 'row')} of {self.num_rows:,}; {self.passed:,} pass the filters"]
        if len(self.cells) > 1:
            wide = max(len(cell.name) for cell in self.cells[:50])
            lines += [
                f"  {cell.name:<{wide}}  {cell.taken:>10,} taken  {cell.asked:>10,} asked  {cell.available:>10,} there"
                for cell in self.cells[:50]
            ]
        return "\n".join([*lines, *self.remarks()])


@dataclass(frozen=True)
class Selected:
    """Rows by their numbers, ascending, and the account of how they came to be chosen."""

    indices: Ints
    account: Account

    def __len__(self) -> int:
        return len(self.indices)

    def __str__(self) -> str:
        return str(self.account)


def select(store: Store, selection: Selection, without: Sequence[int] | Ints = ()) -> Selected:
    """The rows that a selection takes. `without`: rows taken before, as by an earlier phase, which are not taken again
    and count towards caps."""
    _check(selection)
    passed_n = where(store, selection)
    taken_before = np.asarray(without, dtype=np.int64)
    num_passed = int(passed_n.sum())
    cells = cells_of(store, selection, passed_n)
    outside = int((passed_n & (cells.cell_n < 0)).sum())
    cells.cell_n[taken_before] = -1
    draw = _Draw(store, selection, cells, taken_before)
    asked_c = _asked(selection, cells, draw.available_c)
    draw.take(asked_c)
    short = int((asked_c - draw.taken_c).sum())
    if short and selection.on_shortage == "redistribute":
        draw.redistribute(short)
    account = Account(
        num_rows=store.num_rows,
        passed=num_passed,
        outside=outside,
        asked=selection.rows if not selection.counts else int(asked_c.sum()),
        taken=int(draw.taken_c.sum()),
        cells=[
            Cell(name, float(share), int(available), int(asked), int(taken))
            for name, share, available, asked, taken in zip(
                cells.names, cells.shares_c, draw.available_c, asked_c, draw.taken_c, strict=True
            )
        ],
        cap=dict(selection.cap),
    )
    if not account.taken or (short and selection.on_shortage == "error"):
        raise DataError(f"{store.path}: {'; '.join(account.remarks()) or 'no row passes the filters'}")
    return Selected(np.sort(np.concatenate(draw.chosen)), account)


def priorities(seed: int, indices: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """A number for each row that is as good as random, different for each, and never depends on other rows: splitmix64
    of its place, from a start that the seed decides."""
    out = np.empty(len(indices), dtype=np.uint64)
    start = _mix(np.array([seed & (1 << 64) - 1], dtype=np.uint64))
    for block in _blocks(len(indices)):
        out[block] = _mix(indices[block].astype(np.uint64) + start)
    return out


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The last steps of splitmix64 (Steele, Lea and Flood 2014): a bijection of 64 bits."""
    x = x * np.uint64(0x9E3779B97F4A7C15)
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


def _check(selection: Selection) -> None:
    if len(selection.counts) > 1:
        raise RecipeError(f"counts of {len(selection.counts)} columns; give those of one, and filter by the others")
    if selection.counts and (selection.rows is not None or selection.shares):
        raise RecipeError("counts say how many rows of each value; leave out `rows` and `shares`")


def _asked(selection: Selection, cells: Cells, available_c: Ints) -> Ints:
    if selection.counts:
        [counts] = selection.counts.values()
        return np.array(list(counts.values()), dtype=np.int64)
    if selection.rows is not None:
        return cells.counts(selection.rows)
    if len(cells.names) == 1:
        return available_c
    # As many as the scarcest value allows at these shares.
    shares_c = cells.shares_c
    total = int(np.floor((available_c[shares_c > 0] / shares_c[shares_c > 0]).min() + 1e-9))
    return cells.counts(total)


def _blocks(length: int) -> list[slice]:
    """Numpy makes eight-byte copies of what it counts or looks up with: a block at a time they are small."""
    return [slice(at, at + _BLOCK) for at in range(0, length, _BLOCK)]


def _places(marked_n: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    size = np.int32 if len(marked_n) < 1 << 31 else np.int64
    parts = [(np.flatnonzero(marked_n[block]) + block.start).astype(size) for block in _blocks(len(marked_n))]
    return np.concatenate(parts)


def _counts(cell_n: npt.NDArray[np.int16], num_cells: int) -> Ints:
    counts_c = np.zeros(num_cells, dtype=np.int64)
    for block in _blocks(len(cell_n)):
        counts_c += np.bincount(cell_n[block], minlength=num_cells)
    return counts_c


class _Draw:
    """The rows taken so far, and what cells and groups still have room for."""

    def __init__(self, store: Store, selection: Selection, cells: Cells, before: Ints) -> None:
        self._shares_c = cells.shares_c
        self._pool = _places(cells.cell_n >= 0)
        self._cell = cells.cell_n[cells.cell_n >= 0]
        self._priority = priorities(selection.seed, self._pool)
        self.available_c = _counts(self._cell, len(cells.names))
        self.taken_c = np.zeros_like(self.available_c)
        self.chosen: list[Ints] = [np.empty(0, dtype=np.int64)]
        self._used = np.empty(0, dtype=np.int64)  # places in the pool
        self._groups = [_Group(store, name, most, before) for name, most in selection.cap.items()]
        if len(before) and self._groups:
            self._keep(np.ones(len(self._pool), dtype=np.bool_))  # caps that earlier rows have used up

    def take(self, asked_c: Ints) -> None:
        """Take as many rows of each cell, or as many as there are. Scarce cells are the first to use up caps."""
        need_c = asked_c.copy()
        scarcity_c = np.argsort(np.argsort(self.available_c / np.maximum(asked_c, 1), kind="stable"))
        while need_c.any():
            lowest = self._lowest(need_c)
            if not len(lowest):
                return
            lowest = lowest[np.lexsort((self._priority[lowest], scarcity_c[self._cell[lowest]]))]
            for group in self._groups:
                lowest = lowest[group.has_room(self._pool[lowest])]
            num_c = np.bincount(self._cell[lowest], minlength=len(need_c))
            need_c -= num_c
            self.taken_c += num_c
            self._accept(lowest)

    def _lowest(self, need_c: Ints) -> Ints:
        """For each cell the rows of the lowest numbers, as many as it needs, as places in the pool."""
        self._drop_used()
        found = [np.empty(0, dtype=np.int64)]
        for cell in np.flatnonzero(need_c):
            in_cell, need = self._cell == cell, int(need_c[cell])
            num = int(np.count_nonzero(in_cell))
            if 2 * need < num:
                # Numbers are spread evenly, so that the lowest lie below a bound: no need to look at all of them.
                near = np.flatnonzero(in_cell & (self._priority < np.uint64(2**64 * 1.5 * need / num)))
                there = near if len(near) >= need else np.flatnonzero(in_cell)
            else:
                there = np.flatnonzero(in_cell)
            if need < len(there):
                there = there[np.argpartition(self._priority[there], need)[:need]]
            found.append(there)
        return np.concatenate(found)

    def _accept(self, places: Ints) -> None:
        rows = self._pool[places].astype(np.int64)
        self.chosen.append(rows)
        self._used = places
        for group in self._groups:
            group.use(rows)

    def _drop_used(self) -> None:
        """Leave in the pool what may still be taken."""
        if len(self._used):
            left = np.ones(len(self._pool), dtype=np.bool_)
            left[self._used] = False
            self._keep(left)
            self._used = np.empty(0, dtype=np.int64)

    def _keep(self, left: npt.NDArray[np.bool_]) -> None:
        for group in self._groups:
            left &= group.open(self._pool)
        self._pool = self._pool[left]
        self._cell = self._cell[left]
        self._priority = self._priority[left]

    def redistribute(self, short: int) -> None:
        """Give what some cells lack to the cells that have rows left, by their shares, until nothing moves."""
        while short:
            self._drop_used()
            left_c = _counts(self._cell, len(self.taken_c))
            weights_c = np.where(left_c > 0, self._shares_c, 0.0)
            if not weights_c.any():
                return
            before = int(self.taken_c.sum())
            self.take(largest_remainder(short, weights_c))
            if int(self.taken_c.sum()) == before:
                return
            short -= int(self.taken_c.sum()) - before


class _Group:
    """A cap: how many rows of each value of a column may still be taken."""

    def __init__(self, store: Store, name: str, most: int, before: Ints) -> None:
        values = store.column(name)
        self._group_n = values if store.kinds[name] == "text" else np.unique(values, return_inverse=True)[1]
        has_none = store.missing(name)
        self._has_none = has_none if has_none.any() else None
        self._room_g = np.full(int(self._group_n.max(initial=0)) + 1, most, dtype=np.int64)
        self.use(before)

    def _of(self, rows: npt.NDArray[Any]) -> Ints:
        return self._group_n[rows].astype(np.int64)

    def has_room(self, rows: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Which of these rows still fit, those that come first before the others."""
        group = self._of(rows)
        order = np.argsort(group, kind="stable")
        ordered = group[order]
        rank = np.empty(len(rows), dtype=np.int64)
        rank[order] = np.arange(len(rows)) - np.searchsorted(ordered, ordered, side="left")
        return (rank < self._room_g[group]) | self._free(rows)

    def open(self, rows: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        has_room = self._room_g > 0
        return np.concatenate(
            [has_room[self._group_n[rows[block]]] | self._free(rows[block]) for block in _blocks(max(len(rows), 1))]
        )

    def use(self, rows: Ints) -> None:
        np.subtract.at(self._room_g, self._of(rows[~self._free(rows)]), 1)

    def _free(self, rows: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        return np.zeros(len(rows), dtype=np.bool_) if self._has_none is None else self._has_none[rows]
