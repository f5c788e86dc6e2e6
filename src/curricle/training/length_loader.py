"""The source's loader for short rows first. In a recipe it is `curriculum.strategy: length_ramp`, which keeps the
tokens of a step constant; here a batch is a number of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from torch.utils.data import default_collate

from ..errors import RecipeError
from ..runtime.seeds import numpy_generator


class CurriculumDataLoader:
    """Short rows first: at each step a batch of rows no longer than the schedule allows, [(until step, most), ...].

    The first entry whose step lies ahead holds; after the last one all rows take part. Within an entry rows come in
    shuffled passes, so that none is left out for long; a batch has fewer rows than asked where fewer are short enough.

    >>> loader = CurriculumDataLoader(["a", "bb", "cccc"], [(10, 1), (20, 3)], batch_size=2, collate_fn=sorted)
    >>> loader.get_batch(0), loader.get_batch(10)
    (['a'], ['a', 'bb'])
    """

    def __init__(
        self,
        dataset: Any,
        schedule: Sequence[tuple[float, float]],
        batch_size: int = 8,
        *,
        seed: int = 0,
        length: Callable[[Any], int] | None = None,
        collate_fn: Callable[[list[Any]], Any] | None = None,
    ) -> None:
        untils = [until for until, _ in schedule]
        if batch_size < 1 or not len(dataset):
            raise RecipeError(
                f"batch_size is {batch_size} and the data set has {len(dataset)} rows; both are 1 or more"
            )
        if any(a >= b for a, b in pairwise(untils)):
            raise RecipeError(f"schedule has the steps {untils}; each must be above the one before")
        self.dataset, self.batch_size, self.seed = dataset, batch_size, seed
        self.collate_fn = collate_fn or default_collate
        self._untils, self._most = np.array(untils, dtype=float), [*(most for _, most in schedule), np.inf]
        lengths_n = np.array([(length or _length)(dataset[row]) for row in range(len(dataset))])
        self._by_length = np.argsort(lengths_n, kind="stable")
        self._lengths = lengths_n[self._by_length]
        self._pass: tuple[tuple[int, int], Any] = ((-1, -1), None)
        if self._most[0] < self._lengths[0]:
            raise RecipeError(
                f"schedule begins with {self._most[0]:g}, and the shortest row has {self._lengths[0]}: nothing could "
                "be drawn; raise the first length"
            )

    def get_batch(self, step: int) -> Any:
        """The batch of a step, counted from 0; it follows from (seed, step) alone."""
        return self.collate_fn([self.dataset[row] for row in self.rows_of(step)])

    def rows_of(self, step: int) -> list[int]:
        stage = self._stage(step)
        num = int(np.searchsorted(self._lengths, self._most[stage], side="right"))
        size = min(self.batch_size, num)
        begin = (step - int(self._untils[stage - 1] if stage else 0)) * size
        return [self._drawn(stage, place // num, num)[place % num] for place in range(begin, begin + size)]

    def __iter__(self) -> Iterator[Any]:
        """Without end, from step 0."""
        step = 0
        while True:
            yield self.get_batch(step)
            step += 1

    def _get_max_len(self, step: int) -> float:
        return float(self._most[self._stage(step)])

    def _stage(self, step: int) -> int:
        return int(np.searchsorted(self._untils, step, side="right"))

    def _drawn(self, stage: int, pass_: int, num: int) -> list[int]:
        """One shuffled pass over the `num` shortest rows."""
        if self._pass[0] != (stage, pass_):
            rng = numpy_generator(self.seed, "order", stage, pass_)
            self._pass = (stage, pass_), rng.permutation(self._by_length[:num]).tolist()
        found: list[int] = self._pass[1]
        return found


def _length(row: Any) -> int:
    return len(row["input_ids"]) if isinstance(row, Mapping) else len(row)
