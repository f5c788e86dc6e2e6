"""How often the intervals of a comparison cry wolf, and how often they find what is there: simulated experiments.

    python benchmarks/intervals.py

The arm's effect is 0 in the first lines, so whatever is found there is a false alarm; 5 in 100 is what an interval of
95 % puts up with. A figure of an arm, seed and example is the example's difficulty (the same for both arms), what the
arm does to just this example (the same for every seed), what the seed does to the whole run, and noise.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from curricle.experiments.comparison.statistics import Estimate, Sample, Terms, estimate
from harness import figure

SPREADS = {
    "seeds alone": (1.0, 0.0, 0.0),
    "examples alone": (0.0, 1.0, 0.0),
    "both alike": (0.1, 1.0, 0.0),
    "both and noise": (0.1, 1.0, 1.0),
    "noise alone": (0.0, 0.0, 1.0),
}
"""Standard deviations: of seeds, of arm and example, of noise."""


def experiment(rng: np.random.Generator, seeds: int, examples: int, spread: tuple[float, ...], effect: float) -> Terms:
    of_seeds, of_examples, of_noise = spread
    difficulty = rng.normal(0.0, 5.0, examples)
    base, arm = (difficulty + of_noise * rng.normal(size=(seeds, examples)) for _ in range(2))
    arm = arm + effect + of_examples * rng.normal(size=examples) + of_seeds * rng.normal(size=(seeds, 1))
    ones = np.ones_like(arm)
    return [(1.0, Sample(arm.mean(1), arm, ones)), (-1.0, Sample(base.mean(1), base, ones))]


def over_seeds(terms: Terms) -> Estimate:
    return estimate([(factor, Sample(sample.values_s)) for factor, sample in terms])


def two_level(terms: Terms) -> Estimate:
    return estimate(terms, "bootstrap", num_draws=1000)


METHODS: tuple[Callable[[Terms], Estimate], ...] = (estimate, over_seeds, two_level)


def rate(
    method: Callable[[Terms], Estimate], number: int, seeds: int, spread: tuple[float, ...], effect: float
) -> float:
    """The share of experiments whose interval of 95 % leaves out 0."""
    rng, found = np.random.default_rng(0), 0
    for _ in range(number):
        bounds = method(experiment(rng, seeds, 100, spread, effect)).bounds(0.95)
        found += bounds is not None and not bounds[0] <= 0 <= bounds[1]
    return found / number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=2000, help="experiments for each figure")
    number = parser.parse_args().number
    most = 0.05 + 3 * (0.05 * 0.95 / number) ** 0.5
    for seeds in (2, 3, 5):
        for spread, parts in SPREADS.items():
            ours, by_seeds, by_both = (rate(method, number, seeds, parts, 0.0) for method in METHODS)
            others = {"t_over_seeds": by_seeds, "two_level_bootstrap": by_both}
            figure(f"false alarms, {seeds} seeds, {spread}", ours=ours, target=most, direction="at_most", **others)
    for seeds in (2, 3, 5):
        for effect in (0.5, 1.0):
            found = rate(estimate, number, seeds, SPREADS["both and noise"], effect)
            figure(f"an effect of {effect} is found, {seeds} seeds, both and noise", ours=found)


if __name__ == "__main__":
    main()
