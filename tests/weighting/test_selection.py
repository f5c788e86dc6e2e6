"""Exact counts, first come first on ties, and scopes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from curricle.weighting.controls import RandomTokens
from curricle.weighting.pool import Pool
from curricle.weighting.reference_excess import ReferenceExcess, soft_weights
from curricle.weighting.selection import choose_top, num_chosen, selecting_weights
from flat_tables import flat


@pytest.mark.parametrize(
    ("ratio", "num", "expected"), [(0.6, 10, 6), (0.6, 11, 7), (0.07, 100, 7), (0.7, 10, 7), (1.0, 9, 9), (0.01, 3, 1)]
)
def test_counts_are_those_of_the_number_as_written(ratio: float, num: int, expected: int) -> None:
    assert num_chosen(ratio, num) == expected


@pytest.mark.parametrize("num", [1, 2, 7, 64, 501])
@pytest.mark.parametrize("ratio", [0.01, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("values", [1, 3, 1000])
def test_the_choice_is_that_of_a_stable_sort(num: int, ratio: float, values: int) -> None:
    scores = torch.randint(0, values, (num,), generator=torch.Generator().manual_seed(num)).double()
    order = sorted(range(num), key=lambda i: (-scores[i].item(), i))
    expected = torch.zeros(num, dtype=torch.bool)
    expected[order[: num_chosen(ratio, num)]] = True
    assert torch.equal(choose_top(scores, ratio), expected)


def test_the_drawn_example() -> None:
    scores = torch.tensor([3.0, 7, 7, 1, 7])
    assert choose_top(scores, 0.5).tolist() == [False, True, True, False, True]
    assert choose_top(scores, 0.4).tolist() == [False, True, True, False, False]


def test_weights_of_a_choice_sum_to_the_number_of_tokens() -> None:
    weights = selecting_weights(torch.tensor([True, False, True, False, False]))
    assert weights.tolist() == [2.5, 0.0, 2.5, 0.0, 0.0]


def test_soft_weights_become_the_choice() -> None:
    excess = torch.randn(101, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    soft = soft_weights(excess, 0.6, 0.5)
    assert soft.mean().item() == pytest.approx(1.0)
    assert (soft > 0).all()
    assert torch.equal(soft.argsort(), excess.argsort())
    hard = selecting_weights(choose_top(excess, 0.6))
    # The last one chosen lies on the border and counts half, so the others count a little more.
    near = soft_weights(excess, 0.6, 1e-9)
    assert ((near - hard).abs() > 0.02).sum() == 1


def test_a_rank_goes_by_all_it_has_seen_in_the_step() -> None:
    easy, hard = flat([10], loss_n=torch.zeros(10)), flat([10], loss_n=torch.full((10,), 9.0))
    reference = torch.zeros(10)
    weighting = ReferenceExcess(ratio=0.5, scope="rank")
    shares = []
    for step, tokens in ((0, easy), (0, hard), (1, easy), (1, easy)):
        weighting.step = step
        tokens = flat([10], loss_n=tokens.loss_n, reference_n=reference)
        weights, metrics = weighting(tokens)
        assert weights is not None
        shares.append(int(metrics["weight_selected"][0]))
    assert shares == [5, 10, 5, 0], "of equal scores the first micro batch has them all"


def test_pools_of_one_process() -> None:
    values = torch.arange(3.0)
    for scope in ("micro_batch", "global"):
        pooled, own = Pool(scope).widen(values, 0)  # type: ignore[arg-type]
        assert torch.equal(pooled[own], values)
        assert len(pooled) == 3


def test_random_tokens_are_as_many() -> None:
    weights, metrics = RandomTokens(ratio=0.6, seed=3)(flat([5, 6]))
    assert weights is not None
    assert (int((weights > 0).sum()), float(weights.sum())) == (7, pytest.approx(11.0))
    assert int(metrics["weight_selected"][0]) == 7


def test_empty_tables() -> None:
    for weighting in (ReferenceExcess(), ReferenceExcess(softness=1.0), RandomTokens()):
        weights, _ = weighting(flat([0]))
        assert weights is not None
        assert weights.shape == (0,)


def test_a_ratio_from_numpy_is_a_number_like_any_other() -> None:
    assert num_chosen(np.float64(0.07), 100) == 7
