"""An endless stream of examples: shuffled passes over whatever the order admits.

A pass draws every admitted slot of its pool once. When the admitted set changes within a pass, what remains of the pass
is arranged anew: the newly admitted join, the no longer admitted leave, and what was drawn already is not drawn again.

    pool 0 1 2 3, at first only 0 and 1 admitted, then all after one draw

    pass 0, arrangement 0:   1 0          drawn: 1
    pass 0, arrangement 1:     3 0 2      all but 1, which this pass has drawn already
    pass 1, arrangement 0:   2 0 1 3

Each arrangement has a random generator of its own, named by (seed, "order", pass, arrangement), so the queue is a
function of a few numbers and two immutable arrays. A snapshot shares those by reference and costs the same for ten
examples and for ten million.
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import RecipeError, RunError
from ..runtime.seeds import numpy_generator
from .order import Ids, Mask, Order
from .pool import Pool

Counts = npt.NDArray[np.int32]
Drawn = npt.NDArray[np.unsignedinteger[Any]]
"""Counts of one pass: mostly 0 and 1, so a byte each."""
Shares = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class StreamState:
    """A point of the stream. The arrays are shared with the stream and are never written to."""

    pass_: int
    arrangement: int
    cursor: int
    num_draws: int
    num_repeats: int
    admitted: Mask | None
    shares: Shares | None
    at_pass: Counts  # draws of each example when the pass began
    drawn: Drawn  # ... and since, when the queue was last arranged
    queue: Ids

    def to_json(self) -> dict[str, Any]:
        return {
            "pass": self.pass_,
            "arrangement": self.arrangement,
            "cursor": self.cursor,
            "num_draws": self.num_draws,
            "num_repeats": self.num_repeats,
            "num_examples": len(self.at_pass),
            "admitted": None if self.admitted is None else _pack(np.packbits(self.admitted)),
            "shares": self.shares,
            "at_pass": _pack(self.at_pass),
            "drawn_in_pass": _pack(self.drawn.astype(np.int32)),
            "queue_crc32": zlib.crc32(self.queue.data),
        }


class Stream:
    """Draws examples for ever; the same (order, pool, seed) draws the same examples on every rank and machine."""

    def __init__(self, order: Order, pool: Pool | Ids, seed: int) -> None:
        self.order = order
        self.seed = seed
        self.pool = pool if isinstance(pool, Pool) else Pool(pool)
        self.num_examples = self.pool.num_examples
        at_pass, drawn = np.zeros(self.num_examples, dtype=np.int32), np.zeros(self.num_examples, dtype=np.uint8)
        self._restore(StreamState(-1, 0, 0, 0, 0, None, None, at_pass, drawn, _NOTHING))

    def draw(self, progress: float) -> int:
        """The next example; begins a new pass when the current one has nothing left."""
        if progress != self._progress:
            self.admit(progress)
        while self._cursor == len(self._view):
            self._next_pass()
        example = self._view[self._cursor]
        self._cursor += 1
        self._num_repeats += self._seen[example]
        self._seen[example] = 1
        return example

    @property
    def left_in_pass(self) -> int:
        """How many examples the current pass still holds, as of the last `admit` or `draw`."""
        return len(self._view) - self._cursor

    @property
    def num_draws(self) -> int:
        return self._draws_before + self._cursor

    @property
    def num_repeats(self) -> int:
        """Draws of an example that had been drawn before."""
        return self._num_repeats

    @property
    def num_passes(self) -> int:
        """Finished passes."""
        return max(self._pass, 0)

    def draws(self) -> Counts:
        """How often each example has been drawn."""
        draws = self._before_queue()
        draws += np.bincount(self._queue[: self._cursor], minlength=self.num_examples)
        return draws

    def _before_queue(self) -> Counts:
        counts: Counts = np.add(self._at_pass, self._drawn, dtype=np.int32)
        return counts

    def snapshot(self) -> StreamState:
        return StreamState(
            self._pass,
            self._arrangement,
            self._cursor,
            self.num_draws,
            self._num_repeats,
            self._admitted,
            self._shares,
            self._at_pass,
            self._drawn,
            self._queue,
        )

    def state_dict(self) -> dict[str, Any]:
        return self.snapshot().to_json()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["num_examples"] != self.num_examples:
            raise RunError(
                f"the checkpoint was written over {state['num_examples']} examples and the data now has "
                f"{self.num_examples}; resume with the same data, or start a new run"
            )
        at_pass = _unpack(state["at_pass"], np.int32)
        drawn = _narrow(_unpack(state["drawn_in_pass"], np.int32))
        admitted = None
        if state["admitted"] is not None:
            admitted = np.unpackbits(_unpack(state["admitted"], np.uint8), count=self.num_examples).astype(bool)
        self._admitted, self._shares = admitted, None if state["shares"] is None else tuple(state["shares"])
        self._at_pass, self._drawn = at_pass, drawn
        queue = self._arranged(state["pass"], state["arrangement"]) if state["pass"] >= 0 else _NOTHING
        if zlib.crc32(queue.data) != state["queue_crc32"]:
            raise RunError(
                f"the order `{type(self.order).__name__}` arranges the examples otherwise than in the checkpoint: "
                "labels, source weights or seed have changed; resume with what the run began with, or start a new run"
            )
        self._restore(
            StreamState(
                state["pass"],
                state["arrangement"],
                state["cursor"],
                state["num_draws"],
                state["num_repeats"],
                admitted,
                self._shares,
                at_pass,
                drawn,
                queue,
            )
        )

    def _restore(self, state: StreamState) -> None:
        self._pass, self._arrangement = state.pass_, state.arrangement
        self._num_repeats = state.num_repeats
        self._admitted, self._shares = state.admitted, state.shares
        self._asked: object = self  # nothing that an order could give
        self._at_pass, self._drawn = state.at_pass, state.drawn
        self._progress: float | None = None
        self._draws_before = state.num_draws - state.cursor
        self._use(state.queue)
        self._cursor = state.cursor
        self._seen = bytearray(self.draws() > 0)

    def admit(self, progress: float) -> None:
        """Ask the order what it admits, when `progress` is not the one it was asked with last."""
        if progress == self._progress:
            return
        asked, shares = self.order.admitted(progress), self.order.shares(progress)
        known = asked is self._asked and (asked is None or not asked.flags.writeable)
        admitted = self._admitted if known else self._checked(asked, progress)
        if shares != self._shares or not (known or _same(admitted, self._admitted)):
            self._admitted, self._shares = admitted, shares
            if self._pass >= 0:
                self._rearrange()
        self._asked, self._progress = asked, progress

    def _checked(self, admitted: Mask | None, progress: float) -> Mask | None:
        """A copy of the first `num_examples` entries (the order may reuse its array), or None when they admit all."""
        if admitted is None:
            return None
        name = f"the order `{type(self.order).__name__}`"
        if admitted.dtype != bool or admitted.ndim != 1 or len(admitted) < self.num_examples:
            raise RecipeError(
                f"{name} must admit by one bool for each of the {self.num_examples} examples; "
                f"got {admitted.dtype} of shape {admitted.shape}"
            )
        if admitted.flags.writeable or len(admitted) > self.num_examples:
            admitted = admitted[: self.num_examples].copy()
        if not self.pool.draws_any(admitted):
            raise RecipeError(
                f"{name} admits none of the {self.num_examples} examples at progress {progress:.3f}; "
                "widen its first stage or threshold, or check that its labels belong to this data"
            )
        return None if admitted.all() else admitted

    def _next_pass(self) -> None:
        self._at_pass, self._drawn = self.draws(), np.zeros(self.num_examples, dtype=np.uint8)
        self._pass, self._arrangement = self._pass + 1, 0
        self._draws_before = self.num_draws
        self._use(self._arranged(self._pass, 0))

    def _rearrange(self) -> None:
        self._drawn = _narrow(self.draws() - self._at_pass)
        self._arrangement += 1
        self._draws_before = self.num_draws
        self._use(self._arranged(self._pass, self._arrangement))

    def _use(self, queue: Ids) -> None:
        self._queue = queue
        self._view = queue.data  # indexing it gives a Python int, several times faster than the array does
        self._cursor = 0

    def _arranged(self, pass_: int, arrangement: int) -> Ids:
        """The queue of an arrangement: a function of its name, of what is admitted, and of what had been drawn."""
        names = (pass_,) if arrangement == 0 else (pass_, arrangement)
        rng = numpy_generator(self.seed, "order", *names)
        ids = self.pool.left(pass_, self._drawn, self._admitted)
        if self._shares is not None:
            queue = self.order.deal(ids, self._shares, self._before_queue(), rng)
        elif len(queue := self.order.arrange(ids, rng)) != len(ids):
            raise RecipeError(
                f"`{type(self.order).__name__}.arrange` got {len(ids)} examples and gave {len(queue)}; it may change "
                "their sequence only, and `admitted` says which take part"
            )
        return np.ascontiguousarray(queue, dtype=ids.dtype)


_NOTHING: Ids = np.empty(0, dtype=np.int32)


def _narrow(counts: Counts) -> Drawn:
    """The same numbers in as few bytes as they need."""
    return counts.astype(np.min_scalar_type(int(counts.max(initial=0))))


def _same(a: Mask | None, b: Mask | None) -> bool:
    return a is b or (a is not None and b is not None and bool(np.array_equal(a, b)))


def _pack(array: npt.NDArray[Any]) -> str:
    return base64.b64encode(zlib.compress(array.data, level=1)).decode()


def _unpack(text: str, dtype: type) -> npt.NDArray[Any]:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=dtype)
