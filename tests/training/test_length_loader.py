"""Short rows first: the source's schedule, without sampling more rows than there are."""

from __future__ import annotations

from collections import Counter
from math import inf
from typing import Any

import pytest

from curricle import CurriculumDataLoader
from curricle.errors import RecipeError

ROWS = [list(range(n)) for n in (5, 1, 9, 3, 3, 7, 2, 12)]
SCHEDULE = [(4, 2), (10, 5), (inf, 9)]


def loader(schedule: Any = SCHEDULE, **keys: Any) -> CurriculumDataLoader:
    return CurriculumDataLoader(ROWS, schedule, **{"batch_size": 3, "collate_fn": list, **keys})


def test_the_first_entry_ahead_holds_and_after_the_last_everything() -> None:
    limits = [
        loader([(1000, 512), (5000, 2048), (inf, 8192)])._get_max_len(step) for step in (0, 999, 1000, 4999, 5000)
    ]
    assert limits == [512, 512, 2048, 2048, 8192]
    assert loader([(2, 5)])._get_max_len(2) == inf


def test_batches_hold_what_is_short_enough_and_no_more_than_there_is() -> None:
    ours = loader()
    for step in range(30):
        most = ours._get_max_len(step)
        short = [row for row, tokens in enumerate(ROWS) if len(tokens) <= most]
        assert len(ours.get_batch(step)) == min(3, len(short))
        assert set(ours.rows_of(step)) <= set(short)


def test_a_batch_follows_from_seed_and_step() -> None:
    one, other = loader(seed=1), loader(seed=1)
    steps = [7, 0, 29, 12, 7]
    assert [one.rows_of(step) for step in steps] == [other.rows_of(step) for step in steps]
    assert [loader(seed=2).rows_of(step) for step in range(9)] != [one.rows_of(step) for step in range(9)]
    assert [batch for batch, _ in zip(one, range(5), strict=False)] == [one.get_batch(step) for step in range(5)]


def test_rows_come_in_whole_passes() -> None:
    """After the last threshold every row is drawn as often as every other."""
    ours = loader([(4, 2)], batch_size=4)
    counts = Counter(row for step in range(4, 4 + 6) for row in ours.rows_of(step))
    assert counts == dict.fromkeys(range(8), 3)


def test_mistakes_are_named() -> None:
    with pytest.raises(RecipeError, match="shortest row has 1"):
        loader([(5, 0)])
    with pytest.raises(RecipeError, match="each must be above the one before"):
        loader([(5, 2), (5, 3)])
    with pytest.raises(RecipeError, match="both are 1 or more"):
        loader(batch_size=0)
