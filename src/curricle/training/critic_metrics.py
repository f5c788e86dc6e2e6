"""How good a critic is: explained variance over states, and at each document's last decision AUC and calibration.

    explained variance = 1 - Var(R - V) / Var(R)      1 perfect, 0 no better than a constant, below 0 worse

It is made from sums (moments) over all states of an epoch, or of a whole table, over all ranks; a mean of what single
batches have would be another number, and a batch of equal rewards has none.

Suffixes: n supervised tokens, d documents.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data.table import TokenTable
from ..models.likelihood import TokenValues

Numbers = npt.NDArray[np.floating[Any]]
BINS = 10


@dataclass
class Moments:
    """Sums over states: enough for the explained variance, and to go on adding."""

    num: float = 0.0
    reward: float = 0.0
    reward_squared: float = 0.0
    error: float = 0.0
    error_squared: float = 0.0
    """Of R - V."""

    def __add__(self, other: Moments) -> Moments:
        return Moments(*(one + two for one, two in zip(astuple(self), astuple(other), strict=True)))

    @property
    def explained_variance(self) -> float:
        """NaN where all rewards are one value."""
        variance = self._variance(self.reward, self.reward_squared)
        return 1 - self._variance(self.error, self.error_squared) / variance if variance > 0 else math.nan

    @property
    def brier(self) -> float:
        """The mean square of R - V."""
        return self.error_squared / self.num if self.num else math.nan

    def _variance(self, total: float, squares: float) -> float:
        return max(0.0, squares / self.num - (total / self.num) ** 2) if self.num else 0.0


MOMENTS = tuple(field.name for field in fields(Moments) if field.name != "num")


def moments(value_n: Numbers, reward_n: Numbers) -> Moments:
    """Of states with their values and what came of them."""
    value_n, reward_n = value_n.astype(np.float64), reward_n.astype(np.float64)
    error_n = reward_n - value_n
    sums = (reward_n.sum(), (reward_n**2).sum(), error_n.sum(), (error_n**2).sum())
    return Moments(float(len(value_n)), *map(float, sums))


def auc(value_d: Numbers, reward_d: Numbers) -> float:
    """How often a document with reward 1 has a higher value than one with 0; ties count half. NaN without both."""
    from scipy.stats import rankdata

    good_d = reward_d > 0.5
    num_good, num_bad = int(good_d.sum()), int((~good_d).sum())
    if not num_good or not num_bad:
        return math.nan
    return float((rankdata(value_d)[good_d].sum() - num_good * (num_good + 1) / 2) / (num_good * num_bad))


def calibration_error(value_d: Numbers, reward_d: Numbers, bins: int = BINS) -> float:
    """ECE: in bins of equal width, how far the mean value is from the share of reward 1, weighted by their numbers.
    Values outside of [0, 1] belong to the first or last bin."""
    bin_d = np.clip((value_d * bins).astype(np.int64), 0, bins - 1)
    off = np.bincount(bin_d, reward_d.astype(np.float64) - value_d, bins)
    return float(np.abs(off).sum() / max(1, len(value_d)))


def judge_values(values: TokenValues, table: TokenTable) -> dict[str, float]:
    """A critic on a table: `values` of the state that each learned token is chosen in."""
    assert table.rewards is not None
    counts = values.counts
    reward_d = table.rewards.astype(np.float64)
    told_d = (counts > 0) & ~np.isnan(reward_d)
    in_n = np.repeat(told_d, counts)
    total = moments(values.values[in_n], np.repeat(reward_d, counts)[in_n])
    # A document that was cut has no last decision.
    ended_d = told_d if table.truncated is None else told_d & ~table.truncated
    last_d, reward_d = values.values[values.starts[1:][ended_d] - 1], reward_d[ended_d]
    return {
        "explained_variance": total.explained_variance,
        "value_auc": auc(last_d, reward_d),
        "value_brier": moments(last_d, reward_d).brier,
        "value_ece": calibration_error(last_d, reward_d),
        "value_correct": _mean(last_d[reward_d > 0.5]),
        "value_incorrect": _mean(last_d[reward_d <= 0.5]),
    }


def _mean(value_d: Numbers) -> float:
    return float(value_d.mean()) if len(value_d) else math.nan
