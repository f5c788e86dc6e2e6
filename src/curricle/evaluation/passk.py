"""pass@k: how likely one of k programs drawn from n passes its tests, where c of the n do.

    pass@k = 1 - C(n - c, k) / C(n, k) = 1 - (1 - k/(n-c+1)) (1 - k/(n-c+2)) ... (1 - k/n)

The product has no large numbers in it, so it keeps its digits for any n. Reading k programs off n >= k samples like
this is unbiased; `1 - (1 - c/n)^k` is not, and is too low.

The mean over problems has an interval over problems: other problems of the same kind would have given another mean.
Wilson's interval, since it says something where nothing or everything passes; a value a problem that varies less than
passed-or-not does (several samples a problem) counts as more problems.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from ..errors import DataError, RecipeError
from ..runtime.progress import counted
from .config import Range
from .score import Score

SHARE: Range = (0.0, 1.0)
LEVEL = 0.95


def pass_at_k(num_samples: int, num_correct: int, k: int) -> float:
    """Of one problem.

    >>> round(pass_at_k(5, 2, 2), 12)
    0.7
    """
    if not 0 <= num_correct <= num_samples:
        raise DataError(f"{num_correct} of {num_samples} samples cannot be right")
    if not 1 <= k <= num_samples:
        raise RecipeError(
            f"pass@{k} cannot be had from {num_samples} samples a problem; k is at least 1 and at most their number"
        )
    wrong = num_samples - num_correct
    if wrong < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(wrong + 1, num_samples + 1))


@dataclass(frozen=True)
class Counts:
    """Of each problem: samples, and how many of them passed."""

    ids: Sequence[str]
    num_samples: Sequence[int]
    num_correct: Sequence[int]


def pass_scores(counts: Counts, ks: Sequence[int]) -> list[Score]:
    """`pass@k` for every k: the mean over problems, and each problem's value. A problem with too few samples for a k
    is refused by name: leaving it out would change what the mean is of."""
    if not counts.ids:
        raise DataError("pass@k is a mean over problems, and there are none")
    short = [(id_, num) for id_, num in zip(counts.ids, counts.num_samples, strict=True) if num < max(ks)]
    if short:
        raise RecipeError(
            f"pass@{max(ks)} needs {max(ks)} samples of every problem; {short[0][0]} has {short[0][1]} "
            f"({len(short):,} of {len(counts.ids):,} problems have too few); ask for a smaller k, or make more samples"
        )
    return [_score(counts, k) for k in ks]


def _score(counts: Counts, k: int) -> Score:
    values = np.array([pass_at_k(n, c, k) for n, c in zip(counts.num_samples, counts.num_correct, strict=True)])
    low, high = interval(values)
    few, most = min(counts.num_samples), max(counts.num_samples)
    samples = f"{few}" if few == most else f"{few} to {most}"
    over = f"{LEVEL:.0%} interval over {counted(len(values), 'problem')}: {low:.4f} to {high:.4f}"
    note = f"{over}; {samples} {'sample' if most == 1 else 'samples'} a problem"
    return Score(f"pass@{k}", math.fsum(values) / len(values), values, note=note, range=SHARE)


def interval(values: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Between what the mean of values in [0, 1] lies: Wilson's interval, with as many passed-or-not problems as would
    make a mean that varies alike. Never fewer than there are."""
    mean, num = float(np.mean(values)), float(len(values))
    variance = float(np.var(values))
    if variance > 0:
        num *= max(1.0, mean * (1 - mean) / variance)
    z = NormalDist().inv_cdf((1 + level) / 2)
    centre = (mean + z * z / (2 * num)) / (1 + z * z / num)
    half = z / (1 + z * z / num) * math.sqrt(mean * (1 - mean) / num + z * z / (4 * num * num))
    return max(0.0, centre - half), min(1.0, centre + half)
