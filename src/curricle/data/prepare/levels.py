"""The difficulty of CodeContests on one scale from 1 to 11, lower easier, 0 unknown.

The published code mixes two scales: 1 to 5 are EASY to HARDEST of CodeChef, 7 to 28 the letters A to V of a problem in
its Codeforces contest, 6 and 0 say nothing. So 7, the letter A, is mostly easier than 3, HARD, and two rows in five
have 0.
Instead, in this order:

    1. the rating of Codeforces, 800 to 3500:  level = 1 + (rating - 800) / 270, rounded, between 1 and 11
    2. a letter without a rating:              the level of the median rating of that letter in the files at hand
    3. EASY to HARDEST:                        2, 4, 6, 8, 10: their order, spread evenly; no more is known of them
    4. anything else:                          0

    rating  800 1070 1340 1610 1880 2150 2420 2690 2960 3230 3500
    level     1    2    3    4    5    6    7    8    9   10   11
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

UNKNOWN, EASIEST, HARDEST = 0, 1, 11
DIFFICULTIES = (
    "UNKNOWN_DIFFICULTY",
    "EASY",
    "MEDIUM",
    "HARD",
    "HARDER",
    "HARDEST",
    "EXTERNAL",
    *"ABCDEFGHIJKLMNOPQRSTUV",
)
_FIRST_LETTER = DIFFICULTIES.index("A")
_ORDINAL = {1: 2, 2: 4, 3: 6, 4: 8, 5: 10}
_LOWEST_RATING, _STEP = 800, 270


def level_of_rating(rating: float) -> int:
    """1 to 11 for a rating of Codeforces.

    >>> [level_of_rating(rating) for rating in (800, 1500, 2400, 3500)]
    [1, 4, 7, 11]
    """
    return min(max(round(EASIEST + (rating - _LOWEST_RATING) / _STEP), EASIEST), HARDEST)


class Levels:
    """Ratings where there are any, and what the other codes are worth beside them."""

    def __init__(self, rated: Iterable[tuple[int, int]]) -> None:
        """`rated`: (published code, rating) of all problems at hand, those without a rating too."""
        ratings: dict[int, list[int]] = {}
        for code, rating in rated:
            if rating > 0 and code >= _FIRST_LETTER:
                ratings.setdefault(code, []).append(rating)
        self.of_letter = {code: level_of_rating(median(found)) for code, found in sorted(ratings.items())}

    def level(self, code: int, rating: int) -> int:
        if rating > 0:
            return level_of_rating(rating)
        return self.of_letter.get(code, _ORDINAL.get(code, UNKNOWN))

    @property
    def letters(self) -> dict[str, int]:
        return {name_of(code): level for code, level in self.of_letter.items()}


def name_of(code: int) -> str:
    """What a published code stands for."""
    return DIFFICULTIES[code] if 0 <= code < len(DIFFICULTIES) else f"code {code}"


def read_levels(files: Sequence[Path]) -> Levels:
    """Two columns of every file are read for this, nothing else."""
    import pyarrow.parquet as pq

    rated: list[tuple[int, int]] = []
    for path in files:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=4096, columns=["difficulty", "cf_rating"]):
                columns = (batch.column(name).to_pylist() for name in ("difficulty", "cf_rating"))
                rated += [(code or 0, rating or 0) for code, rating in zip(*columns, strict=True)]
    return Levels(rated)
