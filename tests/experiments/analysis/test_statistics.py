"""Correlations, AUC and shares with their intervals: against slow references, and against a known truth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from curricle.experiments.analysis.paired import stronger
from curricle.experiments.analysis.statistics import (
    Ranks,
    above_median,
    auc,
    judge,
    matrix,
    partial,
    share,
    skew,
    spearman,
)
from curricle.experiments.comparison.shape import Interval
from curricle.experiments.comparison.statistics import draw_counts

Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray, np.ndarray]]


def smooth(rng: np.random.Generator, num: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A score, a target and a length; the score knows of the target beyond the length."""
    length = rng.normal(size=num)
    target = 0.6 * length + 0.8 * rng.normal(size=num)
    return 0.7 * target + 0.3 * length + rng.normal(size=num), target, length


def heavy(rng: np.random.Generator, num: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Long tails, and a spread that grows with the length."""
    length = rng.normal(size=num)
    target = 0.6 * length + 0.8 * rng.normal(size=num)
    noise = rng.standard_t(3, size=num) * (0.3 + np.abs(length))
    return 0.7 * target + 0.3 * length + noise, target, length


def tied(rng: np.random.Generator, num: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    score, target, length = smooth(rng, num)
    return np.round(score), target, np.round(2 * length)


DRAWS = pytest.mark.parametrize("draw", [smooth, heavy, tied])


def correlation(weights: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's rho of examples of unequal weight, from its definition, pair by pair."""
    weights = weights / weights.sum()

    def place(values: np.ndarray) -> np.ndarray:
        below = (values[None] < values[:, None]) + 0.5 * (values[None] == values[:, None])
        return below @ weights - 0.5

    u, v = place(x), place(y)
    return float((weights * u * v).sum() / np.sqrt((weights * u * u).sum() * (weights * v * v).sum()))


def nudged(figure: Callable[[np.ndarray], float], num: int, step: float = 1e-5) -> np.ndarray:
    """What a little more weight on each example does to a figure."""
    even = np.full(num, 1 / num)
    toward = [(1 - step) * even + step * np.eye(num)[i] for i in range(num)]
    away = [(1 + step) * even - step * np.eye(num)[i] for i in range(num)]
    return np.array([(figure(up) - figure(down)) / (2 * step) for up, down in zip(toward, away, strict=True)])


@DRAWS
def test_rho_is_scipys(draw: Draw) -> None:
    x, y, _ = draw(np.random.default_rng(0), 60)
    assert spearman(Ranks(x), Ranks(y)).rho == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)


@DRAWS
def test_what_an_example_adds_is_what_more_weight_on_it_does(draw: Draw) -> None:
    x, y, _ = draw(np.random.default_rng(1), 30)
    expected = nudged(lambda weights: correlation(weights, x, y), 30)
    np.testing.assert_allclose(spearman(Ranks(x), Ranks(y)).influence_n, expected, atol=1e-6)


def given(x: np.ndarray, y: np.ndarray, z: np.ndarray):
    one, two, three = Ranks(x), Ranks(y), Ranks(z)
    return partial(spearman(one, two), spearman(one, three), spearman(two, three))


@DRAWS
def test_partial_is_what_is_left_of_ranks_when_those_of_length_are_taken_out(draw: Draw) -> None:
    x, y, z = (stats.rankdata(values) for values in draw(np.random.default_rng(2), 80))
    along = np.stack([np.ones(80), z], axis=1)
    rest = [values - along @ np.linalg.lstsq(along, values, rcond=None)[0] for values in (x, y)]
    assert given(x, y, z).rho == pytest.approx(stats.pearsonr(*rest).statistic, abs=1e-10)


def test_what_an_example_adds_to_a_partial_correlation() -> None:
    x, y, z = tied(np.random.default_rng(3), 30)

    def figure(weights: np.ndarray) -> float:
        xy, xz, yz = (correlation(weights, *pair) for pair in ((x, y), (x, z), (y, z)))
        return (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))

    np.testing.assert_allclose(given(x, y, z).influence_n, nudged(figure, 30), atol=1e-6)


def test_only_the_order_counts_and_a_turned_score_has_the_turned_interval() -> None:
    x, y, _ = heavy(np.random.default_rng(4), 50)
    found = spearman(Ranks(x), Ranks(y)).interval()
    assert spearman(Ranks(np.exp(x)), Ranks(y**3)).interval() == found
    turned = spearman(Ranks(-x), Ranks(y)).interval()
    assert (turned.mean, turned.low, turned.high) == pytest.approx((-found.mean, -found.high, -found.low))


def test_what_is_constant_has_no_correlation() -> None:
    assert spearman(Ranks(np.ones(20)), Ranks(np.arange(20.0))) is None
    assert matrix([np.arange(4.0), np.ones(4)]) == [[pytest.approx(1.0), None], [None, None]]


def test_nothing_is_left_given_a_length_that_says_all() -> None:
    x, y, _ = smooth(np.random.default_rng(5), 30)
    assert given(x, y, y) is None
    assert given(x, y, x) is None


@pytest.mark.parametrize("sign", [1, -1])
def test_a_perfect_correlation_is_not_certain(sign: int) -> None:
    x = np.arange(20.0)
    found = spearman(Ranks(x), Ranks(sign * x)).interval()
    ends = sorted(abs(end) for end in (found.low, found.high))
    assert found.mean == sign
    assert 0.6 < ends[0] < 0.99
    assert ends[1] == 1


def test_an_unknown_value_is_left_out_of_its_pairs_alone() -> None:
    one, other = np.array([1.0, 2, 3, np.nan, 5]), np.array([2.0, 1, 4, 9, 8])
    expected = stats.spearmanr([1, 2, 3, 5], [2, 1, 4, 8]).statistic
    assert matrix([one, other])[0][1] == pytest.approx(expected)


# ---- halves ---------------------------------------------------------------------------------------------------------


def delong(values: np.ndarray, hard: np.ndarray) -> tuple[float, float]:
    """AUC and its variance, pair by pair."""
    up, down = values[hard][:, None], values[~hard][None]
    won = (up > down) + 0.5 * (up == down)
    variance = won.mean(1).var(ddof=1) / hard.sum() + won.mean(0).var(ddof=1) / (~hard).sum()
    return float(won.mean()), float(variance)


@DRAWS
def test_auc_is_the_share_of_pairs_in_order(draw: Draw) -> None:
    values, target, _ = draw(np.random.default_rng(6), 70)
    hard = target > 0.4  # not even halves
    found, (area, variance) = auc(values, hard), delong(values, hard)
    statistic = stats.mannwhitneyu(values[hard], values[~hard]).statistic
    assert found.mean == pytest.approx(area) == pytest.approx(statistic / (hard.sum() * (~hard).sum()))
    half = 1.959964 * np.sqrt(variance) / (area * (1 - area))
    middle = np.log(area / (1 - area))
    expected = [1 / (1 + np.exp(-(middle + side * half))) for side in (-1, 1)]
    assert [found.low, found.high] == pytest.approx(expected, abs=1e-6)


def test_auc_of_a_perfect_order_and_of_one_half_only() -> None:
    values = np.arange(20.0)
    found = auc(values, values > 9)
    assert (found.mean, found.high) == (1, 1)
    assert 0.6 < found.low < 0.99
    assert auc(-values, values > 9).low == 0
    assert auc(values, np.ones(20, dtype=bool)) is None


@pytest.mark.parametrize(("right", "num"), [(0, 20), (7, 10), (150, 200), (30, 30)])
def test_shares_are_wilsons(right: int, num: int) -> None:
    found = share(np.arange(num) < right)
    expected = stats.binomtest(right, num).proportion_ci(method="wilson")
    assert [found.low, found.high] == pytest.approx([expected.low, expected.high], abs=1e-6)


def test_skew_is_scipys() -> None:
    values = np.random.default_rng(7).exponential(size=50)
    assert skew(values) == pytest.approx(stats.skew(values))
    assert skew(np.ones(5)) == 0


@pytest.mark.parametrize(
    ("low", "high", "outcome"), [(0.51, 0.8, "met"), (0.2, 0.5, "not met"), (0.5, 0.6, "not decidable")]
)
def test_a_line_is_met_by_the_whole_interval(low: float, high: float, outcome: str) -> None:
    assert judge(Interval(0.5, low, high), 0.5) == outcome
    assert judge(Interval(0.9), 0.5) == "not decidable"


# ---- two scores -----------------------------------------------------------------------------------------------------


def three(num: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    target = rng.normal(size=num)
    return target + rng.normal(size=num), np.round(-target + 3 * rng.normal(size=num)), target


def test_the_paired_interval_is_that_of_resampled_examples() -> None:
    """Each draw written out: the examples repeated, and scipy's rho of them."""
    one, other, target = three(40, 8)
    draws = []
    for counts_dn in draw_counts(40, 200):
        for counts in counts_dn:
            x, y, aim = (np.repeat(values, counts.astype(int)) for values in (one, other, target))
            draws.append(abs(stats.spearmanr(x, aim).statistic) - abs(stats.spearmanr(y, aim).statistic))
    found, verdict = stronger(Ranks(one), Ranks(other), Ranks(target), draws=200)
    assert [found.low, found.high] == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=1e-9)
    assert found.mean == pytest.approx(
        abs(stats.spearmanr(one, target).statistic) - abs(stats.spearmanr(other, target).statistic)
    )
    assert verdict == ("better" if found.low > 0 else "no difference shown")


def test_verdicts_of_two_scores() -> None:
    one, other, target = (Ranks(values) for values in three(300, 9))
    assert stronger(one, other, target)[1] == "better"
    assert stronger(other, one, target)[1] == "worse"
    found, verdict = stronger(one, one, target)
    assert (found.mean, found.low, found.high, verdict) == (0, 0, 0, "no difference shown")


# ---- how often the truth is within ----------------------------------------------------------------------------------


def figures(draw: Draw, rng: np.random.Generator, num: int) -> dict[str, Interval]:
    score, target, length = draw(rng, num)
    hard = above_median(target)
    return {
        "rho": spearman(Ranks(score), Ranks(target)).interval(),
        "partial": given(score, target, length).interval(),
        "auc": auc(score, hard),
        "accuracy": share(above_median(score) == hard),
    }


@pytest.mark.parametrize("draw", [smooth, heavy])
def test_intervals_of_95_percent_hold_the_truth_that_often(draw: Draw) -> None:
    """400 samples of 60: a share of 0.95 has a standard error of 0.011."""
    rng = np.random.default_rng(10)
    truth = {name: found.mean for name, found in figures(draw, rng, 300_000).items()}
    held = dict.fromkeys(truth, 0)
    for _ in range(400):
        for name, found in figures(draw, rng, 60).items():
            held[name] += found.low <= truth[name] <= found.high
    for name, times in held.items():
        assert 0.92 < times / 400 < 0.985, f"{name}: {times / 400}"
