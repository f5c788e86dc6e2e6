"""Difficulty as a rank: how many examples are strictly easier.

A share c of the set admits whoever has fewer than c * n strictly easier ones, so that examples of equal difficulty
enter together, a share above 0 is never empty, and constant difficulty admits everybody at once.

    difficulty    2.0  0.5  2.0  9.0        0.5 is the easiest
    num_easier    1    0    1    3          c = 0.25: {0.5}   c = 0.5: {0.5, 2.0, 2.0}   c = 1: all
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..runtime.seeds import numpy_generator

Control = Literal["random_curriculum", "anti_curriculum"]
Counts = npt.NDArray[np.int32]


def num_easier(difficulty_n: npt.NDArray[Any]) -> Counts:
    """For each example the number of strictly easier ones."""
    by_difficulty = np.argsort(difficulty_n)  # ties are of one rank, so no stable sort, which takes twice as long
    ordered = difficulty_n[by_difficulty]
    first = np.r_[True, ordered[1:] != ordered[:-1]]
    counts = np.empty(len(difficulty_n), dtype=np.int32)
    place = np.arange(len(difficulty_n), dtype=np.int32)
    counts[by_difficulty] = np.maximum.accumulate(np.where(first, place, np.int32(0)))
    return counts


def percentile_ranks(difficulty_n: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The share of strictly easier examples: in [0, 1), 0 for the easiest."""
    return num_easier(difficulty_n) / len(difficulty_n)


def under_control(values_n: npt.NDArray[Any], control: Control | None, seed: int) -> npt.NDArray[Any]:
    """What a control arm takes for difficulty: the same values dealt out at random, so that every stage has the size it
    had; or turned round."""
    if control == "random_curriculum":
        return numpy_generator(seed, "random_curriculum").permutation(values_n)
    return -values_n if control == "anti_curriculum" else values_n
