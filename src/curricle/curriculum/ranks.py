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
    by_difficulty, ordered = _sorted(difficulty_n)
    easier = np.arange(len(difficulty_n), dtype=np.int32)
    easier[1:][ordered[1:] == ordered[:-1]] = 0  # then each takes over the place of the first that is its equal
    counts = np.empty_like(easier)
    counts[by_difficulty] = np.maximum.accumulate(easier, out=easier)
    return counts


def _sorted(values_n: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """The places of the values from low to high, and keys in that order that are equal where the values are.

    numpy sorts whole numbers several times faster than it finds the places of a sort. So a float32, which is what
    labels are, and its place become one number of 64 bits:

        value 2.5 at place 7        0xC0200000 00000007        the value's bits, made to rise as the value does
    """
    if values_n.dtype != np.float32 or np.isnan(values_n.min(initial=0.0)):
        places = np.argsort(values_n)  # ties are of one rank, so no stable sort, which takes twice as long
        return places, values_n[places]
    bits = (values_n + np.float32(0)).view(np.uint32)  # of -0 and 0, which are equal, both become 0
    bits ^= np.where(bits >> 31, np.uint32(0xFFFFFFFF), np.uint32(0x80000000))  # all of a negative's bits turn round
    both = bits.astype(np.uint64) << np.uint64(32)
    both |= np.arange(len(both), dtype=np.uint64)
    both.sort()
    return both.astype(np.uint32), both >> np.uint64(32)


def percentile_ranks(difficulty_n: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The share of strictly easier examples: in [0, 1), 0 for the easiest."""
    return num_easier(difficulty_n) / len(difficulty_n)


def under_control(values_n: npt.NDArray[Any], control: Control | None, seed: int) -> npt.NDArray[Any]:
    """What a control arm takes for difficulty: the same values dealt out at random, so that every stage has the size it
    had; or turned round."""
    if control == "random_curriculum":
        return numpy_generator(seed, "random_curriculum").permutation(values_n)
    return -values_n if control == "anti_curriculum" else values_n
