"""What a pass draws: the slots of a pool, each of them one draw of one example.

A source of weight 2.5 gives each of its examples two slots in every pass, and half of them a third; of weight 0.5, one
slot to half of them. Which half moves on from pass to pass: a window that runs round one shuffle of the source, so that
no example is left out for long and each is drawn as often as every other, to within one.

    weight 0.4, shuffled 3 0 4 1 2     pass 0: 3 0     pass 1: 4 1     pass 2: 2 3     pass 3: 0 4     ...

A pass follows from (seed, pass) alone, and all of them are equally long.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import RecipeError
from ..runtime.seeds import numpy_generator
from .order import Ids, Mask

EMPTY = "the training set is empty: no example to draw; check `data.train` and `data.limit`"


class Pool:
    """The same slots in every pass."""

    def __init__(self, slots: Ids) -> None:
        if len(slots) == 0:
            raise RecipeError(EMPTY)
        self._slots = np.ascontiguousarray(slots)
        self._numbered = self._slots, copy_numbers(self._slots)
        self.examples = self._slots
        """Every example that some pass draws; may name one twice."""
        self.num_examples = int(self._slots.max()) + 1

    def __len__(self) -> int:
        """Slots of one pass."""
        return len(self._slots)

    def slots(self, pass_: int) -> Ids:
        return self._slots

    def left(self, pass_: int, drawn: npt.NDArray[Any], admitted: Mask | None) -> Ids:
        """The slots of a pass that are admitted, less as many of each example as the pass has drawn already."""
        slots = self.slots(pass_)
        if slots is not self._numbered[0]:
            self._numbered = slots, copy_numbers(slots)
        remaining = drawn[slots] <= self._numbered[1]
        if admitted is not None:
            remaining &= admitted[slots]
        return slots[remaining]

    def draws_any(self, admitted: Mask) -> bool:
        """Whether some pass draws one of these examples."""
        return bool(admitted[self.examples].any())

    def num_distinct(self, passes: float) -> float:
        """How many different examples so many passes draw; exact for whole passes."""
        return len(np.unique(self._slots)) * min(1.0, passes)


class WholePool(Pool):
    """Every example once in every pass: what most runs draw, and nothing to keep for it."""

    def __init__(self, num_examples: int) -> None:
        if num_examples == 0:
            raise RecipeError(EMPTY)
        self.num_examples = num_examples

    def __len__(self) -> int:
        return self.num_examples

    def slots(self, pass_: int) -> Ids:
        return np.arange(self.num_examples, dtype=np.int32)

    def left(self, pass_: int, drawn: npt.NDArray[Any], admitted: Mask | None) -> Ids:
        remaining = drawn == 0
        if admitted is not None:
            remaining &= admitted
        return np.flatnonzero(remaining).astype(np.int32)

    def draws_any(self, admitted: Mask) -> bool:
        return bool(admitted.any())

    def num_distinct(self, passes: float) -> float:
        return self.num_examples * min(1.0, passes)


class WeightedPool(Pool):
    """Each example as often as its source's weight says; sources without a weight count once."""

    def __init__(self, sources_n: Ids, weights: Sequence[float], seed: int) -> None:
        sources_n = np.asarray(sources_n)
        self._copies = np.ones(len(sources_n), dtype=np.int64)
        self._shares: list[
            tuple[npt.NDArray[np.int64], int]
        ] = []  # a source's shuffle, and how many of it a pass takes
        for source, weight in enumerate(weights):
            if weight == 1:
                continue
            if not 0 <= weight < np.inf:
                raise RecipeError(
                    f"the weight of data source {source} is {weight}; allowed: a finite number, 0 or more"
                )
            members = np.flatnonzero(sources_n == source)
            self._copies[members] = int(weight)
            num_extra = round((weight - int(weight)) * len(members))
            if 0 < weight < 1:
                num_extra = min(max(1, num_extra), len(members))  # a small source is not rounded away
            if num_extra:
                self._shares.append((numpy_generator(seed, "pool", source).permutation(members), num_extra))
        super().__init__(self._of_pass(0))
        self.examples = np.concatenate([self.examples, *(shuffled for shuffled, _ in self._shares)])
        self.num_examples = len(sources_n)

    def slots(self, pass_: int) -> Ids:
        return self._of_pass(pass_) if self._shares and pass_ else self._slots

    def _of_pass(self, pass_: int) -> Ids:
        copies = self._copies.copy()
        for shuffled, num_extra in self._shares:
            copies[shuffled[(pass_ * num_extra + np.arange(num_extra)) % len(shuffled)]] += 1
        return np.repeat(np.arange(len(copies), dtype=np.int32), copies)

    def num_distinct(self, passes: float) -> float:
        whole = np.count_nonzero(self._copies) * min(1.0, passes)
        shared = [(shuffled, num) for shuffled, num in self._shares if not self._copies[shuffled[0]]]
        return whole + sum(min(len(shuffled), passes * num) for shuffled, num in shared)


def copy_numbers(slots: Ids) -> npt.NDArray[np.int32] | np.int32:
    """For each slot, how many earlier slots hold the same example; one zero for all when none is repeated."""
    by_example = np.argsort(slots, kind="stable")
    ordered = slots[by_example]
    first = np.r_[True, ordered[1:] != ordered[:-1]]
    if first.all():
        return np.int32(0)
    place = np.arange(len(slots), dtype=np.int32)
    numbers = np.empty_like(place)
    numbers[by_example] = place - np.maximum.accumulate(np.where(first, place, 0))
    return numbers
