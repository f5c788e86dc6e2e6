"""Packing that obeys an order: examples share a row of `budget` tokens, and none is split.

A window holds the next `lookahead` examples of the order. Each row begins with the oldest of them and is filled with
the longest that still fits, until none does; then the window is filled up again.

    budget 6, lookahead 3, examples a b c d e of 4 5 2 1 3 tokens, drawn in this sequence

    window  a4 b5 c2      row 1: a (oldest), 2 tokens left: c      a a a a c c      full
    window  b5 d1 e3      row 2: b (oldest), 1 token left: d       b b b b b d      full
    window  e3            row 3: e                                 e e e . . .      3 unused

What the look-ahead moves is bounded on both sides. Nobody waits for long: every row takes the oldest, so an example is
placed at most `lookahead` rows after the first row that could have held it. Nobody comes early: an example overtakes at
most `lookahead - 1` others. A look-ahead of 1 gives one example a row, which is no packing.

A larger window fits better; docs/packing.md has the measured fill.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DataError, RunError

# A window entry is one integer, length in the high bits and age in the low ones, so that a sorted list of integers is
# sorted by length, and among equal lengths the oldest comes last, where the search for the best fit ends.
AGE_BITS = 44
OLDEST = (1 << AGE_BITS) - 1


@dataclass(slots=True)
class PackingStats:
    """What has been packed so far."""

    budget: int
    num_rows: int = 0
    num_documents: int = 0
    num_tokens: int = 0

    @property
    def fill(self) -> float:
        """The share of the rows' tokens that hold an example's token."""
        return self.num_tokens / (self.num_rows * self.budget) if self.num_rows else 1.0


class Packer:
    """Takes examples one by one and gives rows; all its state is the window."""

    def __init__(self, lengths: npt.NDArray[np.integer], budget: int, lookahead: int = 256) -> None:
        _check(lengths, budget, lookahead)
        self.budget = budget
        self.lookahead = lookahead
        self.stats = PackingStats(budget)
        self._lengths = np.ascontiguousarray(lengths).data
        self._clear()

    def _clear(self) -> None:
        self._sorted: list[int] = []  # keys of the window, ascending
        self._window: dict[int, int] = {}  # key -> example, oldest first
        self._next_age = OLDEST

    @property
    def num_waiting(self) -> int:
        """Examples in the window."""
        return len(self._window)

    def next_row(self, draw: Callable[[], int | None]) -> list[int]:
        """The examples of the next row. `draw` gives the next example of the order, or None when there is none for now.

        An empty row says that everything drawn has been given out.
        """
        self._fill_window(draw)
        if not self._window:
            return []
        window, keys = self._window, self._sorted
        key = next(iter(window))
        del keys[bisect_left(keys, key)]
        row = [window.pop(key)]
        left = self.budget - (key >> AGE_BITS)
        while at := bisect_right(keys, (left << AGE_BITS) | OLDEST):
            key = keys.pop(at - 1)
            row.append(window.pop(key))
            left -= key >> AGE_BITS
        self.stats.num_rows += 1
        self.stats.num_documents += len(row)
        self.stats.num_tokens += self.budget - left
        return row

    def _fill_window(self, draw: Callable[[], int | None]) -> None:
        window, keys, lengths, age = self._window, self._sorted, self._lengths, self._next_age
        for _ in range(self.lookahead - len(window)):
            example = draw()
            if example is None:
                break
            key = (lengths[example] << AGE_BITS) | age
            age -= 1
            window[key] = example
            insort(keys, key)
        self._next_age = age

    def snapshot(self) -> tuple[tuple[int, ...], tuple[int, int, int]]:
        """The window, oldest first, and the counters; costs as much as the window is long."""
        stats = self.stats
        return tuple(self._window.values()), (stats.num_rows, stats.num_documents, stats.num_tokens)

    def state_dict(self) -> dict[str, Any]:
        return state_of(self.snapshot())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if len(state["window"]) > self.lookahead:
            raise RunError(
                f"the checkpoint's packing window holds {len(state['window'])} examples and `data.lookahead` is "
                f"{self.lookahead}; resume with the look-ahead the run began with, or start a new run"
            )
        self._clear()
        self._fill_window(partial(next, iter(state["window"]), None))
        self.stats = PackingStats(self.budget, *state["counters"])


def state_of(snapshot: tuple[tuple[int, ...], tuple[int, int, int]]) -> dict[str, Any]:
    """A packer's snapshot as JSON values."""
    window, counters = snapshot
    return {"window": list(window), "counters": list(counters)}


@dataclass(frozen=True)
class PackedRows:
    """A finite packing: row r holds `examples[starts[r]:starts[r + 1]]`."""

    examples: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]
    stats: PackingStats

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, row: int) -> list[int]:
        return self.examples[self.starts[row] : self.starts[row + 1]].tolist()


def pack(
    lengths: npt.NDArray[np.integer], budget: int, lookahead: int = 256, examples: Iterable[int] | None = None
) -> PackedRows:
    """Pack `examples` in their order, by default all of them as they lie."""
    packer = Packer(lengths, budget, lookahead)
    draw = partial(next, iter(range(len(lengths)) if examples is None else examples), None)
    packed, starts = array("i"), array("q", [0])
    while row := packer.next_row(draw):
        packed.extend(row)
        starts.append(len(packed))
    return PackedRows(np.frombuffer(packed, dtype=np.int32), np.frombuffer(starts, dtype=np.int64), packer.stats)


def _check(lengths: npt.NDArray[np.integer], budget: int, lookahead: int) -> None:
    if lookahead < 1:
        raise DataError(f"`data.lookahead` is {lookahead}; allowed: 1 (no packing) or more, usually 256")
    if not len(lengths):
        return
    longest, shortest = int(np.argmax(lengths)), int(np.argmin(lengths))
    if lengths[longest] > budget:
        raise DataError(
            f"example {longest} has {lengths[longest]} tokens and a row holds {budget}; no example is split: raise "
            "`data.max_length`, or let `data.on_long` truncate it or cut it into windows"
        )
    if lengths[shortest] < 1:
        raise DataError(f"example {shortest} has no token; drop it before packing")
