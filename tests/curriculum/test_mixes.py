"""Counts by largest remainder, shares over a run, and a dry bin that is told of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curricle.curriculum.config import MixStage
from curricle.curriculum.mixes import Mixed, bins_of, exact_counts, fixed, ramp, staged
from curricle.curriculum.stream import Stream


@given(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=6), st.integers(0, 500))
def test_counts_add_up_and_are_within_one(weights: list[float], total: int) -> None:
    shares = [weight / sum(weights) for weight in weights]
    counts = exact_counts(shares, total)
    assert sum(counts) == total
    assert all(abs(count - share * total) < 1 + 1e-6 for count, share in zip(counts, shares, strict=True))


def test_bins_hold_their_ends() -> None:
    groups, names = bins_of(np.array([1, 3, 4, 7, 7.5, np.nan, 0, 12]), {"low": (1, 3), "medium": (4, 7)})
    assert names == ["low", "medium", "unknown"]
    assert groups.tolist() == [0, 0, 1, 1, 2, 2, 2, 2]


def test_the_part_of_the_run_decides() -> None:
    parts = [((0, 0.3), {"low": 1.0}), ((0.3, 1), {"low": 0.4, "high": 0.6})]
    stages = [MixStage(epoch_range=epochs, difficulty_weights=weights) for epochs, weights in parts]
    shares_at = staged(stages, ["low", "high", "unknown"])
    assert shares_at(0.0) == shares_at(0.29) == (1.0, 0.0, 0.0)
    assert shares_at(0.3) == shares_at(1.0) == (0.4, 0.6, 0.0)


def test_a_ramp_goes_from_the_first_to_the_last_shares() -> None:
    shares_at = ramp((1.0, 0.0), (0.2, 0.8), full_at=0.5)
    assert shares_at(0.0) == (1.0, 0.0)
    assert shares_at(0.25) == pytest.approx((0.6, 0.4))
    assert shares_at(0.5) == shares_at(1.0) == pytest.approx((0.2, 0.8))


def test_a_dry_bin_is_told_of_once_and_its_draws_go_to_the_others_in_proportion(
    capfd: pytest.CaptureFixture[str],
) -> None:
    groups = np.repeat([0, 1, 2], [200, 100, 4])
    order = Mixed(groups, ["low", "medium", "high"], fixed((0.5, 0.25, 0.25)))
    stream = Stream(order, np.arange(304), seed=0)
    drawn = groups[[stream.draw(0.0) for _ in range(304)]]
    assert set(np.flatnonzero(drawn == 2)) <= set(range(18))
    later = drawn[30:270]
    assert abs((later == 0).sum() - 2 * (later == 1).sum()) <= 4
    stream.draw(0.0)
    said = capfd.readouterr()
    assert (said.out + said.err).count("`high` has 4 examples left in this pass, enough for 16 draws") == 1


def test_a_group_that_is_not_asked_for_is_not_drawn_and_joins_when_it_is() -> None:
    stages = [
        MixStage(epoch_range=(0, 0.5), difficulty_weights={"a": 1.0}),
        MixStage(epoch_range=(0.5, 1), difficulty_weights={"b": 1.0}),
    ]
    groups = np.repeat([0, 1], 10)
    stream = Stream(Mixed(groups, ["a", "b"], staged(stages, ["a", "b"])), np.arange(20), seed=0)
    assert {stream.draw(0.0) for _ in range(15)} == set(range(10))
    assert {stream.draw(0.6) for _ in range(10)} == set(range(10, 20))
