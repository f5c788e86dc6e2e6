"""The statistics on simulated experiments: a difference that is none is called one at most as often as is stated, and
one that is there is found.

Value of an arm, seed and example: the example's own difficulty, which both arms share; what the arm adds to just this
example, the same for every seed; what the seed adds to the whole run; and noise. Only the last two are the seed's.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from curricle.experiments.comparison.statistics import Sample, Terms, estimate, holm

NUM = 2000
EXAMPLES = 60
ALPHA = 0.05
THREE_SIGMA = 3 * np.sqrt(ALPHA * (1 - ALPHA) / NUM)

# (of seeds, of arm and example, of noise): alone, together, and with the seeds' part as large as the examples'
SPREADS = [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.2, 1.0, 1.0), (0.13, 1.0, 0.0), (1.0, 0.0, 1.0), (0.0, 0.0, 1.0)]
WELL_BEHAVED = SPREADS[:5]


def experiment(
    rng: np.random.Generator, num_seeds: int, spread: tuple[float, float, float], effect: float = 0.0
) -> Terms:
    of_seeds, of_examples, of_noise = spread
    difficulty = rng.normal(0.0, 5.0, EXAMPLES)
    base = difficulty + of_noise * rng.normal(size=(num_seeds, EXAMPLES))
    arm = difficulty + of_noise * rng.normal(size=(num_seeds, EXAMPLES))
    arm += effect + of_examples * rng.normal(size=EXAMPLES) + of_seeds * rng.normal(size=(num_seeds, 1))
    ones = np.ones_like(arm)
    return [(1.0, Sample(arm.mean(1), arm, ones)), (-1.0, Sample(base.mean(1), base, ones))]


@lru_cache
def rate(
    num_seeds: int, spread: tuple[float, float, float], effect: float = 0.0, num: int = NUM, **more: object
) -> float:
    rng = np.random.default_rng(num_seeds)
    found = 0
    for _ in range(num):
        bounds = estimate(experiment(rng, num_seeds, spread, effect), **more).bounds(1 - ALPHA)  # type: ignore[arg-type]
        found += bounds is not None and not bounds[0] <= 0 <= bounds[1]
    return found / num


@pytest.mark.parametrize("num_seeds", [2, 3, 5])
@pytest.mark.parametrize("spread", SPREADS)
def test_no_difference_is_called_one_at_most_as_often_as_stated(
    num_seeds: int, spread: tuple[float, float, float]
) -> None:
    assert rate(num_seeds, spread) <= ALPHA + THREE_SIGMA


@pytest.mark.parametrize("num_seeds", [3, 5])
@pytest.mark.parametrize("spread", WELL_BEHAVED)
def test_the_interval_is_not_empty_talk(num_seeds: int, spread: tuple[float, float, float]) -> None:
    assert rate(num_seeds, spread) >= 0.01


@pytest.mark.parametrize("spread", [SPREADS[0], SPREADS[1]])
def test_of_one_part_alone_the_rate_is_exact(spread: tuple[float, float, float]) -> None:
    assert rate(3, spread) == pytest.approx(ALPHA, abs=THREE_SIGMA)


def test_the_examples_of_one_seed_alone() -> None:
    """The bootstrap of one seed holds its rate for what it says: these two models, other examples."""
    assert rate(1, (0.0, 1.0, 0.5), num=1000, num_draws=1000) == pytest.approx(ALPHA, abs=0.025)


def test_why_the_others_are_no_default() -> None:
    """A two-level bootstrap of three seeds cries wolf when seeds differ; a t over seeds alone when examples do."""
    assert rate(3, (1.0, 0.0, 1.0), num=300, kind="bootstrap", num_draws=400) > 0.15
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(500):
        values = [(factor, Sample(arm.values_s)) for factor, arm in experiment(rng, 5, (0.0, 1.0, 1.0))]
        low, high = estimate(values).bounds(1 - ALPHA) or (0.0, 0.0)
        wrong += not low <= 0 <= high
    assert wrong / 500 > 0.15


@pytest.mark.parametrize(("num_seeds", "effect", "power"), [(3, 1.5, 0.8), (5, 1.0, 0.9)])
def test_a_planted_effect_is_found(num_seeds: int, effect: float, power: float) -> None:
    """Of runs that differ by 0.2 from seed to seed and of examples that differ by 1."""
    assert rate(num_seeds, (0.2, 1.0, 1.0), effect, num=500) >= power


def test_holm_keeps_the_rate_over_all_arms() -> None:
    """Five comparisons without any effect: how often at least one of them is called a difference."""
    rng = np.random.default_rng(2)
    wrong = 0
    for _ in range(500):
        ps = [estimate(experiment(rng, 3, (0.5, 0.3, 0.3))).p() or 1.0 for _ in range(5)]
        wrong += min(holm(ps)) < ALPHA
    assert wrong / 500 <= ALPHA + 3 * np.sqrt(ALPHA * (1 - ALPHA) / 500)
