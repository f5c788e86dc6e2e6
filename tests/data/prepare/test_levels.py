from __future__ import annotations

import pytest

from curricle.data.prepare.levels import DIFFICULTIES, Levels, level_of_rating, name_of

A, HARD, EXTERNAL = (DIFFICULTIES.index(name) for name in ("A", "HARD", "EXTERNAL"))


def test_codes_are_those_of_the_card() -> None:
    assert (A, HARD, EXTERNAL, DIFFICULTIES.index("V"), len(DIFFICULTIES)) == (7, 3, 6, 28, 29)
    assert (name_of(0), name_of(8), name_of(99)) == ("UNKNOWN_DIFFICULTY", "B", "code 99")


@pytest.mark.parametrize(("rating", "level"), [(1, 1), (800, 1), (934, 1), (936, 2), (1880, 5), (3500, 11), (4000, 11)])
def test_a_rating_has_a_level(rating: int, level: int) -> None:
    assert level_of_rating(rating) == level


def test_levels_never_fall_with_the_rating() -> None:
    levels = [level_of_rating(rating) for rating in range(0, 4001, 50)]
    assert levels == sorted(levels)
    assert set(levels) == set(range(1, 12))


def test_a_rating_counts_before_a_letter_and_a_letter_by_its_median() -> None:
    levels = Levels([(A, 800), (A, 1070), (A, 3500), (A, 0), (HARD, 0)])
    assert levels.level(A, 3500) == 11
    assert levels.level(A, 0) == level_of_rating(1070) == 2
    assert levels.letters == {"A": 2}
    assert levels.level(A + 1, 0) == 0  # no problem of that letter has a rating


def test_the_two_scales_are_put_in_one_order() -> None:
    """The published code has A (7) above HARD (3); A problems are rated near 1000."""
    levels = Levels([(A, 1000)])
    assert A > HARD
    assert levels.level(A, 0) < levels.level(HARD, 0)
    assert [levels.level(code, 0) for code in (1, 2, 3, 4, 5)] == [2, 4, 6, 8, 10]
    assert (levels.level(0, 0), levels.level(EXTERNAL, 0), levels.level(77, 0)) == (0, 0, 0)
