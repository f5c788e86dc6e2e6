"""Estimates, checked against written-out formulas and against exact cases; their rates are in test_rates.py."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from curricle.experiments.comparison.statistics import (
    ALL_ALIKE,
    BOOTSTRAP_BOTH,
    BOOTSTRAP_EXAMPLES,
    T_BOTH,
    T_SEEDS,
    Kind,
    Sample,
    Transform,
    all_alike,
    draw_counts,
    estimate,
    holm,
    holm_levels,
)


def sample(num_seeds: int = 3, num: int = 40, seed: int = 0, shift: float = 0.0) -> Sample:
    values = np.random.default_rng(seed).normal(shift, 1.0, (num_seeds, num))
    return Sample(values.mean(1), values, np.ones_like(values))


def test_t_over_seeds_is_scipys() -> None:
    values = np.array([1.0, 2.5, 2.0, 4.0])
    found = estimate([(1.0, Sample(values))])
    expected = stats.ttest_1samp(values, 0.0)
    interval = expected.confidence_interval(0.9)
    assert found.method == T_SEEDS
    assert found.bounds(0.9) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert found.p() == pytest.approx(expected.pvalue, rel=1e-6)


def test_a_difference_is_paired_by_seed() -> None:
    ours, theirs = np.array([41.0, 45.0, 49.0]), np.array([40.0, 43.9, 48.1])
    found = estimate([(1.0, Sample(ours)), (-1.0, Sample(theirs))])
    assert found.p() == pytest.approx(stats.ttest_rel(ours, theirs).pvalue, rel=1e-6)


def test_seeds_and_examples_by_the_written_formula() -> None:
    ours, theirs = sample(seed=1, shift=0.3), sample(seed=2)
    found = estimate([(1.0, ours), (-1.0, theirs)])
    assert ours.products_si is not None
    assert theirs.products_si is not None
    each = ours.products_si - theirs.products_si
    seeds, examples = each.mean(1), each.mean(0)
    half = np.sqrt(
        (stats.t.ppf(0.975, 2) * seeds.std(ddof=1) / np.sqrt(3)) ** 2
        + (stats.t.ppf(0.975, 39) * examples.std(ddof=1) / np.sqrt(40)) ** 2
    )
    assert found.method == T_BOTH
    assert found.bounds(0.95) == pytest.approx((each.mean() - half, each.mean() + half), rel=1e-9)


@pytest.mark.parametrize("shift", [0.05, 0.4, 1.0, 3.0])
@pytest.mark.parametrize("num_seeds", [1, 2, 3, 5])
def test_p_is_the_rate_at_which_the_interval_touches_zero(num_seeds: int, shift: float) -> None:
    found = estimate([(1.0, sample(num_seeds, shift=shift)), (-1.0, sample(num_seeds, seed=9))])
    p = found.p()
    assert p is not None
    if 1e-3 < p < 1:  # beyond it the draws of a bootstrap are too few to say
        bounds = [found.bounds(1 - p * factor) for factor in (0.9, 1.1)]
        assert all(bounds)
        assert [low < 0 < high for low, high in filter(None, bounds)] == [True, False]


def test_no_spread_says_nothing_and_the_same_says_the_same() -> None:
    flat = Sample(np.array([3.0, 3.0]))
    assert estimate([(1.0, flat)]).bounds(0.95) is None
    assert estimate([(1.0, flat)]).p() is None
    assert estimate([(1.0, flat), (-1.0, flat)]).p() == 1.0
    lonely = estimate([(1.0, Sample(np.array([3.0])))])
    assert (lonely.method, lonely.bounds(0.95), lonely.p()) == ("none", None, None)


def test_rounding_is_no_spread() -> None:
    values = np.array([0.1 + 0.2, 0.3, 0.3])
    assert not estimate([(1.0, Sample(values))]).known


def test_influences_are_the_slope_of_the_figure() -> None:
    """What an example adds to a ratio of sums: compared with a small change of its weight."""
    rng = np.random.default_rng(3)
    values, weights = rng.normal(2.0, 1.0, (1, 7)), rng.uniform(1, 5, (1, 7))
    ratio = (values * weights).sum() / weights.sum()
    sums = Sample(np.array([ratio]), values * weights, weights)
    found = sums.influence_si()
    assert found is not None
    assert found.sum() == pytest.approx(0, abs=1e-9)
    step = 1e-6
    for i in range(7):
        counts = np.ones((1, 7))
        counts[0, i] += step
        more = sums.drawn_ds(counts @ sums.sums().T)[0, 0]
        assert found[0, i] / 7 == pytest.approx((more - ratio) / step, rel=1e-4)


def losses(num_seeds: int, shift: float, seed: int, transform: Transform) -> Sample:
    """A loss of 5 an example and up, or the perplexity of the same."""
    rng = np.random.default_rng(seed)
    values = 5.0 + shift + rng.normal(0, 0.4, (num_seeds, 1)) + rng.normal(0, 0.5, (num_seeds, 30))
    loss_s = values.mean(1)
    return Sample(np.exp(loss_s) if transform == "exp" else loss_s, values, np.ones_like(values), transform)


@pytest.mark.parametrize("kind", ["t", "bootstrap"])
@pytest.mark.parametrize("num_seeds", [1, 2, 3])
@pytest.mark.parametrize("shift", [0.0, -0.3, 0.8])
def test_a_perplexity_is_judged_as_its_loss(num_seeds: int, shift: float, kind: Kind) -> None:
    (arm, base), (exp_arm, exp_base) = (
        [losses(num_seeds, shift, 1, one), losses(num_seeds, 0.0, 2, one)] for one in ("none", "exp")
    )
    loss = estimate([(1.0, arm), (-1.0, base)], kind, 2000)
    perplexity = estimate([(1.0, exp_arm), (-1.0, exp_base)], kind, 2000)
    own, exp_own = estimate([(1.0, arm)], kind, 2000), estimate([(1.0, exp_arm)], kind, 2000)
    assert perplexity.p() == pytest.approx(loss.p(), rel=1e-6)
    assert perplexity.mean == pytest.approx(exp_own.mean - estimate([(1.0, exp_base)]).mean)
    for level in (0.5, 0.95, 0.99):
        bounds, exp_bounds = loss.bounds(level), perplexity.bounds(level)
        assert bounds is not None
        assert exp_bounds is not None
        assert [low < 0 for low in bounds] == [low < 0 for low in exp_bounds]
        assert exp_bounds[0] < perplexity.mean < exp_bounds[1]
        assert exp_own.bounds(level) == pytest.approx(np.exp(own.bounds(level)))


@pytest.mark.parametrize("num_seeds", [1, 3])
def test_a_factor_of_a_perplexity_moves_its_logarithm(num_seeds: int) -> None:
    arm, base = losses(num_seeds, 0.0, 1, "exp"), losses(num_seeds, 0.0, 2, "exp")
    found, whole = estimate([(1.0, arm), (-0.5, base)]), estimate([(1.0, arm), (-1.0, base)])
    own = estimate([(1.0, base)]).mean
    assert found.mean == pytest.approx(whole.mean + 0.5 * own)
    bounds, of_whole = found.bounds(0.95), whole.bounds(0.95)
    assert bounds is not None
    assert of_whole is not None
    assert bounds == pytest.approx([bound + 0.5 * own for bound in of_whole])  # arm less all of it, and half of it more


def test_one_seed_is_a_bootstrap_of_the_examples() -> None:
    """Close to the t interval of a plain mean, for which it is another way."""
    one = sample(1, num=200, shift=1.0)
    found = estimate([(1.0, one)])
    assert one.products_si is not None
    interval = stats.ttest_1samp(one.products_si[0], 0.0).confidence_interval(0.95)
    assert found.method == BOOTSTRAP_EXAMPLES
    assert found.bounds(0.95) == pytest.approx((interval.low, interval.high), abs=0.02)


def test_arms_are_resampled_together() -> None:
    """Examples that are hard for both arms cancel: the paired interval is that of the differences."""
    hard = np.random.default_rng(4).normal(0.0, 100.0, (1, 80))
    ours, theirs = hard + 1.0 + sample(1, 80).products_si, hard
    ones = np.ones_like(hard)
    found = estimate([(1.0, Sample(ours.mean(1), ours, ones)), (-1.0, Sample(theirs.mean(1), theirs, ones))])
    bounds = found.bounds(0.95)
    assert bounds is not None
    assert bounds[1] - bounds[0] < 1.0


def test_two_levels_by_hand() -> None:
    """The spread of a two-level bootstrap is that of resampled seeds plus that of resampled examples."""
    rng = np.random.default_rng(5)
    values = rng.normal(0, 1, (4, 1)) + rng.normal(0, 3, (1, 30))  # seeds and examples add up
    found = estimate([(1.0, Sample(values.mean(1), values, np.ones_like(values)))], "bootstrap", 20_000)
    assert found.method == BOOTSTRAP_BOTH
    assert found.draws_d is not None
    expected = values.mean(1).var() / 4 + values.mean(0).var() / 30
    assert found.draws_d.var() == pytest.approx(expected, rel=0.05)


def test_counts_are_draws_of_all_examples() -> None:
    counts = np.concatenate(list(draw_counts(30_000, 150)))  # in several parts
    assert counts.shape == (150, 30_000)
    assert set(counts.sum(1)) == {30_000}
    assert counts.var() == pytest.approx(1.0, abs=0.01)
    assert len(np.unique(counts, axis=0)) == 150


def test_weights_of_zero_do_not_count() -> None:
    values, weights = np.array([[1.0, 5.0, 2.0], [1.5, 7.0, 2.5]]), np.array([[1.0, 0.0, 1.0]] * 2)
    found = estimate([(1.0, Sample(np.array([1.5, 2.0]), values * weights, weights))])
    assert found.mean == 1.75


def test_all_alike_has_a_limit() -> None:
    """None of n: the exact binomial limit (Clopper and Pearson)."""
    limit = stats.binomtest(0, 499).proportion_ci(0.95, "exact").high
    assert all_alike(0.0, 499).bounds(0.95) == pytest.approx((0.0, 100 * limit), rel=1e-9)
    assert all_alike(100.0, 499).bounds(0.95) == pytest.approx((100 - 100 * limit, 100.0), rel=1e-9)
    assert all_alike(0.0, 499).method == ALL_ALIKE


def test_holm_rejects_as_the_written_procedure() -> None:
    rng = np.random.default_rng(6)
    for _ in range(200):
        ps = (rng.random(5) ** 3).tolist()
        rejected, order = set(), sorted(range(5), key=lambda i: ps[i])
        for rank, i in enumerate(order):
            if ps[i] >= 0.05 / (5 - rank):
                break
            rejected.add(i)
        assert {i for i, p in enumerate(holm(ps)) if p < 0.05} == rejected
        # and the interval of the level it is tested at leaves out 0 exactly then
        assert {i for i, level in enumerate(holm_levels(ps, 0.95)) if ps[i] < 1 - level} == rejected


def test_holm_of_one_and_of_none() -> None:
    assert (holm([0.03]), holm_levels([0.03], 0.95)) == ([0.03], [0.95])
    assert (holm([]), holm_levels([], 0.95)) == ([], [])


def test_the_page_calculates_right() -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "comparison.md"
    done = doctest.testfile(str(page), module_relative=False)
    assert done.attempted > 5
    assert done.failed == 0
