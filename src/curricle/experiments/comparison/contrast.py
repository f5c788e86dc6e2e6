"""From the files of two arms to one estimate: which seeds and which examples both have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...evaluation.config import PERCENT, Range
from .config import ComparisonConfig
from .facts import ArmFacts, RunFacts
from .shape import Interval
from .statistics import NONE, Estimate, Sample, Terms, Transform, all_alike, estimate

COUNTED_ALIKE = 0.01
"""Share of tokens or bytes that may differ between two runs on the same examples: windows of another length, a first
token that nothing comes before."""
TOLERANCE = 1e-6
"""Between a figure and the same from its values an example, relative."""


@dataclass(frozen=True)
class Contrast:
    """One arm's figure, or the difference of two arms', with what it rests on."""

    estimate: Estimate
    seeds: list[int]
    num_examples: int | None = None
    problem: str = ""
    """Why nothing can be concluded from it, whatever it says; empty when there is no such reason."""
    remark: str = ""
    """What makes it rest on less than it could."""
    range: Range = (-math.inf, None)
    """Between what an arm's own figure lies, so that its interval does; a difference has none."""

    def interval(self, level: float) -> Interval:
        bounds = None if self.problem and not self.seeds else self.estimate.bounds(level)
        if bounds is None:
            return Interval(self.estimate.mean)
        lowest, highest = self.range[0], math.inf if self.range[1] is None else self.range[1]
        low, high = (min(max(bound, lowest), highest) for bound in bounds)
        return Interval(self.estimate.mean, low, high, self.estimate.method)


def own_figure(arm: ArmFacts, metric: str, config: ComparisonConfig) -> Contrast | None:
    """An arm's figure over its seeds; None when no run has it."""
    runs = [run for run in arm.runs.values() if metric in run.metrics]
    if not runs:
        return None
    seeds = [run.seed for run in runs]
    samples, num, _ = paired_samples([runs], metric)
    found = estimate([(1.0, samples[0])], config.interval, config.num_draws)
    bounded = range_of(runs[0].results, metric)
    if num and not found.known and found.mean in PERCENT and bounded == PERCENT:
        found = all_alike(found.mean, num)
    return Contrast(found, seeds, num) if bounded is None else Contrast(found, seeds, num, range=bounded)


def difference(
    arm: ArmFacts, base: ArmFacts, metric: str, config: ComparisonConfig, factor: float = 1.0
) -> Contrast | None:
    """The arm less `factor` times the base, paired by seed and by example; None when one of them lacks the figure."""
    pairs = {
        seed: (own, other)
        for seed in _seeds(arm, base)
        if (own := arm.run_of(seed)) and (other := base.run_of(seed))
        if metric in own.metrics and metric in other.metrics
    }
    if not pairs:
        if not all(any(metric in run.metrics for run in side.runs.values()) for side in (arm, base)):
            return None
        means = [
            np.mean([run.metrics[metric] for run in side.runs.values() if metric in run.metrics])
            for side in (arm, base)
        ]
        nothing = Estimate(float(means[0] - factor * means[1]))
        return Contrast(nothing, [], problem=f"{arm.name} and {base.name} have no seed in common")
    groups = [[pair[i] for pair in pairs.values()] for i in (0, 1)]
    samples, num, remark = paired_samples(groups, metric)
    terms: Terms = [(1.0, samples[0]), (-factor, samples[1])]
    found = estimate(terms, config.interval, config.num_draws)
    problem = next((line for pair in pairs.values() if (line := counted_otherwise(*pair, metric))), "")
    if num is None and remark:
        problem = remark
    elif not problem and len(pairs) == 1 and (arm.trained or base.trained):
        problem = "one seed"
    return Contrast(found, list(pairs), num, problem, remark)


def counted_otherwise(run: RunFacts, beside: RunFacts, metric: str) -> str:
    """What to say when the same examples hold other tokens or bytes for the two runs: a loss a token of one tokenizer
    is no loss of another, and a text with a system prompt is another text."""
    unit = _about(run, metric).get("unit")
    own, other = run.scores(metric), beside.scores(metric)
    if not unit or own is None or other is None:
        return ""
    ids = [name for name in run.places if name in beside.places]
    ours, theirs = own.weights[[run.places[n] for n in ids]], other.weights[[beside.places[n] for n in ids]]
    if np.abs(ours - theirs).sum() <= COUNTED_ALIKE * theirs.sum():
        return ""
    return (
        f"it is over other {unit} of the same examples ({ours.sum():,.0f} against {theirs.sum():,.0f}), as another "
        "tokenizer, template or prompt has it, and so another figure"
    )


def range_of(results: Mapping[str, Any], metric: str) -> Range | None:
    """Between what a figure lies; None where nothing says so, as in results of before it was kept."""
    found = ((results.get("metric_info") or {}).get(metric) or {}).get("range")
    return None if found is None else (found[0], found[1])


def _about(run: RunFacts, metric: str) -> dict[str, Any]:
    return (run.results.get("metric_info") or {}).get(metric) or {}


def _seeds(arm: ArmFacts, base: ArmFacts) -> list[int]:
    """Of two models that nobody trained, measured once each, there is one pair whatever their seeds are called."""
    if arm.fixed and base.fixed:
        return arm.seeds
    return sorted({*arm.seeds, *base.seeds})


def paired_samples(groups: Sequence[Sequence[RunFacts]], metric: str) -> tuple[list[Sample], int | None, str]:
    """A sample for each group of runs, all over the examples that every run was measured on; how many these are (None:
    there are only the runs' values); and a remark when the runs were measured on different examples."""
    runs = [run for group in groups for run in group]
    ids = [name for name in runs[0].places if all(name in run.places for run in runs)]
    remark = _other_data(runs, len(ids))
    scores = [run.scores(metric) for run in runs]
    exp = all(each is not None and each.transform == "exp" and run.metrics[metric] > 0
              for each, run in zip(scores, runs, strict=True))  # fmt: skip
    transform: Transform = "exp" if exp else "none"
    values = [Sample(np.array([run.metrics[metric] for run in group]), transform=transform) for group in groups]
    if len(ids) < 2 or any(each is None for each in scores) or not all(map(_belongs, runs, [metric] * len(runs))):
        return values, None, remark
    places = [[run.places[name] for name in ids] for run in runs]
    weights = np.array([each.weights[place] for each, place in zip(scores, places, strict=True) if each])
    products = np.array([each.values[place] for each, place in zip(scores, places, strict=True) if each]) * weights
    counted = (weights > 0).any(0)
    if counted.sum() < 2 or not (weights.sum(1) > 0).all():
        return values, None, remark
    samples, start = [], 0
    for group, whole in zip(groups, values, strict=True):
        rows = slice(start, start := start + len(group))
        own, weight = products[rows][:, counted], weights[rows][:, counted]
        ratio = own.sum(1) / weight.sum(1)
        figures = whole.values_s if not remark else np.exp(ratio) if exp else ratio
        samples.append(Sample(figures, own, weight, transform))
    return samples, int(counted.sum()), remark


def _belongs(run: RunFacts, metric: str) -> bool:
    """Whether the values an example are those that the figure was made of."""
    found = run.scores(metric)
    if found is None or not found.weights.sum() > 0:
        return False
    ratio = float((found.values * found.weights).sum() / found.weights.sum())
    value = float(np.exp(ratio)) if found.transform == "exp" else ratio
    return abs(value - run.metrics[metric]) <= TOLERANCE * max(1.0, abs(value))


def _other_data(runs: Sequence[RunFacts], num_common: int) -> str:
    """What to say when the runs were not measured on the same examples."""
    measured = sorted({len(run.places) for run in runs})
    if measured[0] > 0:
        if measured == [num_common]:
            return ""
        sizes = " and ".join(f"{size:,}" for size in measured)
        return f"measured on other data: of {sizes} examples {num_common:,} are common"
    hashes = {(run.results.get("data", {}).get("eval") or {}).get("ids_hash") for run in runs}
    return "measured on other data: the held-out sets differ" if len(hashes) > 1 else ""


def no_spread(contrast: Contrast) -> bool:
    return contrast.estimate.method != NONE and not contrast.estimate.known
