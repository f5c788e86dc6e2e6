"""The slots of a pass: how often each example, and that none is left out for good."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curricle.curriculum.pool import Pool, WeightedPool, WholePool
from curricle.errors import RecipeError

SOURCES = np.array([0] * 10 + [1] * 4 + [2] * 3)


def counts(pool: WeightedPool, pass_: int) -> np.ndarray:
    return np.bincount(pool.slots(pass_), minlength=pool.num_examples)


def test_source_weights_make_copies() -> None:
    pool = WeightedPool(SOURCES, (1.0, 2.5, 0.0), seed=0)
    for p in range(4):
        drawn = counts(pool, p)
        assert drawn[:10].tolist() == [1] * 10
        assert sorted(drawn[10:14]) == [2, 2, 3, 3]
        assert drawn[14:].tolist() == [0, 0, 0]
    assert sorted(set(pool.examples.tolist())) == list(range(14))


@pytest.mark.parametrize("weights", [(), (1.0, 1.0, 1.0)])
def test_without_weights_every_pass_is_everything_once(weights: tuple[float, ...]) -> None:
    pool = WeightedPool(SOURCES, weights, seed=0)
    assert pool.slots(0).tolist() == list(range(17))
    assert pool.slots(5) is pool.slots(0)


@given(weight=st.floats(0.01, 3.0), num=st.integers(1, 40), seed=st.integers(0, 9), passes=st.integers(1, 30))
def test_a_part_of_a_source_goes_round_it_evenly(weight: float, num: int, seed: int, passes: int) -> None:
    pool = WeightedPool(np.zeros(num, dtype=int), (weight,), seed)
    drawn = sum(counts(pool, p) for p in range(passes))
    assert drawn.max() - drawn.min() <= 1
    assert drawn.sum() == passes * len(pool)
    assert len(pool) >= 1
    assert pool.num_distinct(passes) == pytest.approx(np.count_nonzero(drawn))


def test_half_a_source_is_the_other_half_next_time() -> None:
    pool = WeightedPool(np.zeros(200, dtype=int), (0.5,), seed=1)
    assert sorted([*pool.slots(0), *pool.slots(1)]) == list(range(200))
    assert pool.slots(0).tolist() != WeightedPool(np.zeros(200, dtype=int), (0.5,), seed=2).slots(0).tolist()


@pytest.mark.parametrize("weight", [-0.5, float("inf"), float("nan")])
def test_a_weight_that_is_no_count_is_refused(weight: float) -> None:
    with pytest.raises(RecipeError, match="weight of data source 1"):
        WeightedPool(np.array([0, 1]), (1.0, weight), seed=0)


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(RecipeError, match="training set is empty"):
        Pool(np.arange(0))


@pytest.mark.parametrize("mask", [None, np.arange(6) % 2 == 0])
def test_the_whole_pool_is_the_pool_of_everything_once(mask: np.ndarray | None) -> None:
    whole, spelled_out = WholePool(6), Pool(np.arange(6))
    drawn = np.array([0, 1, 0, 0, 1, 0], dtype=np.uint8)
    assert whole.left(3, drawn, mask).tolist() == spelled_out.left(3, drawn, mask).tolist()
    assert whole.slots(2).tolist() == spelled_out.slots(2).tolist()
    assert (len(whole), whole.num_examples) == (len(spelled_out), spelled_out.num_examples)
    assert whole.num_distinct(0.5) == spelled_out.num_distinct(0.5) == 3
    if mask is not None:
        assert whole.draws_any(mask)
        assert not whole.draws_any(mask & False)
