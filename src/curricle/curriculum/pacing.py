"""Orders that admit the easiest share of the set, and let the share grow."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import RunError
from .layers import stage_of
from .order import Ids, Mask, Order
from .ranks import num_easier

LEVELS = 200
"""A share that grows all the time moves in so many steps: each of them arranges what is left of a pass anew, which
takes about a second where there are ten million examples."""


def competence(progress: float, initial: float = 0.01, root: float = 2.0) -> float:
    """The share of the set a learner is ready for (Platanios et al. 2019), when `progress` 0 to 1 of the ramp is done.

    >>> round(competence(0.25), 4), round(competence(0.25, root=1), 4)
    (0.5001, 0.2575)
    """
    return float(min(1.0, (progress * (1.0 - initial**root) + initial**root) ** (1.0 / root)))


def check_labels(order: Order, was: int, now: int) -> None:
    """A resumed run must go by the labels it began with; the queue alone would not show that they have changed."""
    if was != now:
        raise RunError(
            f"the labels of the order `{type(order).__name__}` are not those of the checkpoint; resume with the label "
            "file the run began with, or start a new run"
        )


class Easiest(Order):
    """Admits the easiest `share(progress)` of the set."""

    def __init__(self, difficulty_n: npt.NDArray[Any]) -> None:
        self.num_easier = num_easier(difficulty_n)
        self._level, self._mask = 1.0, None  # type: float, Mask | None
        self._metrics: dict[str, float] = {}

    def share(self, progress: float) -> float:
        return 1.0

    def admitted(self, progress: float) -> Mask | None:
        share = self.share(progress)
        if share != self._level or not self._metrics:
            self._admit(share)
        return self._mask

    def _admit(self, share: float) -> None:
        self._level, self._mask, ranks = share, None, self.num_easier
        if share < 1.0:
            num = share * len(self.num_easier)
            num = round(num) if abs(num - round(num)) < 1e-6 else num  # (k / n) * n is not always k
            self._mask = self.num_easier < num
            self._mask.setflags(write=False)  # so that whoever is given it again knows that it has not changed
            ranks = self.num_easier[self._mask]
        num = len(self.num_easier)
        self._metrics = {"admitted_share": len(ranks) / num, "mean_difficulty": float(ranks.mean(dtype=float)) / num}

    def metrics(self) -> dict[str, float]:
        """The admitted share, and the mean percentile of difficulty of what is admitted."""
        return self._metrics

    def metrics_of(self, ids: Sequence[int]) -> dict[str, float]:
        """The mean percentile of difficulty of what was trained on: not the admitted set's where passes are sorted."""
        return {"step_difficulty": float(self.num_easier[list(ids)].mean(dtype=float)) / len(self.num_easier)}

    def state_dict(self) -> dict[str, Any]:
        return {"labels_crc32": zlib.crc32(self.num_easier.data)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if "labels_crc32" not in state:
            raise RunError(
                f"the checkpoint was written by another curriculum than `{type(self).__name__}`; resume with the "
                "recipe that wrote it, or start a new run"
            )
        check_labels(self, state["labels_crc32"], zlib.crc32(self.num_easier.data))


class EasyToHard(Easiest):
    """Everything is admitted, and each pass goes from easy to hard; within a bucket of like difficulty it is shuffled,
    lest neighbours in difficulty (of one length, of one topic) make up whole batches."""

    def __init__(self, difficulty_n: npt.NDArray[Any], num_buckets: int | None = None) -> None:
        super().__init__(difficulty_n)
        num_buckets = num_buckets or max(1, round(len(difficulty_n) ** 0.5))
        self._per_bucket = -(-len(difficulty_n) // num_buckets)
        self._bucket_type = np.min_scalar_type(num_buckets)  # two bytes, mostly: numpy sorts them in linear time

    def arrange(self, ids: Ids, rng: np.random.Generator) -> Ids:
        shuffled = ids.astype(np.int64)  # what `permutation` gives, but eight bytes are exchanged faster than four
        rng.shuffle(shuffled)
        bucket_n = (self.num_easier // self._per_bucket).astype(self._bucket_type)
        return shuffled[np.argsort(bucket_n.take(shuffled), kind="stable")]


class Stages(Easiest):
    """Each of equal parts of the run has its cap; the last is 1."""

    def __init__(self, difficulty_n: npt.NDArray[Any], percentiles: Sequence[float]) -> None:
        super().__init__(difficulty_n)
        self.percentiles = tuple(percentiles)

    def share(self, progress: float) -> float:
        return self.percentiles[stage_of(progress, len(self.percentiles))]

    def metrics(self) -> dict[str, float]:
        return {**super().metrics(), "stage": 1.0 + self.percentiles.index(self._level)}


class Competence(Easiest):
    """The share grows from `initial` to all, which it reaches when `full_at` of the run is done."""

    def __init__(
        self, difficulty_n: npt.NDArray[Any], initial: float = 0.01, root: float = 2.0, full_at: float = 1.0
    ) -> None:
        super().__init__(difficulty_n)
        self.initial, self.root, self.full_at = initial, root, full_at

    def share(self, progress: float) -> float:
        grown = competence(progress / self.full_at, self.initial, self.root)
        return max(self.initial, int(grown * LEVELS + 1e-9) / LEVELS)
