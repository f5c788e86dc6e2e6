"""How fast an arm learns: its held-out loss at equal token marks, and what it took to reach the base arm's last."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .contrast import COUNTED_ALIKE, counted_otherwise
from .facts import ArmFacts, RunFacts
from .shape import ArmProgress, Interval, Progress
from .statistics import Sample, estimate

NUM_MARKS = 8
OTHER_LOSS = "not decidable: another loss"
"""Instead of how many got there, where the loss is over other tokens than the base arm's."""
Curve = list[tuple[int, float]]


def curve_of(run: RunFacts) -> Curve:
    """(tokens trained, held-out loss) at each evaluation; of two at one place the later counts."""
    return sorted({int(row["tokens_trained"]): float(row["loss"]) for row in run.evaluations}.items())


def build_progress(arms: Sequence[ArmFacts], base: ArmFacts, level: float) -> Progress:
    """Marks lie evenly over what the longest run was trained on; an arm says nothing where it was not evaluated yet or
    had ended."""
    curves = {arm.name: {seed: curve_of(run) for seed, run in arm.runs.items()} for arm in arms if arm.trained}
    ends = [curve[-1][0] for runs in curves.values() for curve in runs.values() if curve]
    longest = max(ends, default=0)
    marks = [round(longest * k / NUM_MARKS) for k in range(1, NUM_MARKS + 1)] if longest else []
    return Progress(
        marks, {arm.name: _arm(arm, base, marks, level) for arm in arms if any(curves.get(arm.name, {}).values())}
    )


def _arm(arm: ArmFacts, base: ArmFacts, marks: Sequence[int], level: float) -> ArmProgress:
    curves = {seed: curve for seed, run in arm.runs.items() if (curve := curve_of(run))}
    at_marks = [
        _interval([loss for curve in curves.values() if (loss := at(curve, mark)) is not None], level) for mark in marks
    ]
    tokens, seconds, shares, num_pairs = [], [], [], 0
    for seed in curves:
        run, other = arm.runs[seed], base.run_of(seed)
        if other and another_loss(run, other):
            return ArmProgress(curves, at_marks, None, None, OTHER_LOSS)
        first, its_own = (tokens_to(run, other), tokens_to(other, other)) if other else (None, None)
        num_pairs += first is not None
        if first is None or not math.isfinite(first):
            continue
        tokens.append(first)
        seconds += [] if (took := seconds_at(run, first)) is None else [took]
        shares += [100 * (1 - first / its_own)] if its_own and arm is not base else []
    found = [_interval(tokens, level), _interval(seconds, level), _interval(shares, level, least=-math.inf)]
    if len(tokens) < num_pairs:  # the others would have taken longer: of these alone no interval is true
        found = [_of_some(interval) for interval in found]
    return ArmProgress(curves, at_marks, found[0], found[1], f"{len(tokens)} of {num_pairs}", found[2])


def tokens_to(run: RunFacts, base: RunFacts) -> float | None:
    """Tokens trained when a run first had the last held-out loss of the base arm's run; infinite when it never had.
    None when that cannot be said: one of them has no held-out loss, or they are over other tokens."""
    curve, target = curve_of(run), curve_of(base)
    if not curve or not target or another_loss(run, base):
        return None
    found = first_at(curve, target[-1][1])
    return math.inf if found is None else found


def seconds_to(run: RunFacts, base: RunFacts) -> float | None:
    """The same in seconds of training."""
    tokens = tokens_to(run, base)
    return tokens if tokens is None or math.isinf(tokens) else seconds_at(run, tokens)


def another_loss(run: RunFacts, beside: RunFacts) -> bool:
    """Whether the two held-out losses are means over other tokens, as another tokenizer has them: one is then no mark
    for the other."""
    ours, theirs = (rows[-1].get("tokens") if (rows := each.evaluations) else None for each in (run, beside))
    if ours and theirs and abs(ours - theirs) > COUNTED_ALIKE * theirs:
        return True
    losses = [name for name in run.metrics if name == "loss" or name.endswith(".loss")]
    return any(counted_otherwise(run, beside, name) for name in losses)


def at(curve: Curve, tokens: float) -> float | None:
    """The loss at a number of tokens, by straight line between evaluations; None outside of them."""
    if not curve or not curve[0][0] <= tokens <= curve[-1][0]:
        return None
    return float(np.interp(tokens, [x for x, _ in curve], [y for _, y in curve]))


def first_at(curve: Curve, loss: float) -> float | None:
    """The first number of tokens with at most this loss, by straight line between evaluations."""
    before: tuple[int, float] | None = None
    for tokens, value in curve:
        if value <= loss:
            if before is None:
                return float(tokens)
            share = (before[1] - loss) / (before[1] - value)
            return before[0] + share * (tokens - before[0])
        before = (tokens, value)
    return None


def seconds_at(run: RunFacts, tokens: float) -> float | None:
    """Seconds of training, without evaluations and saving, until so many tokens."""
    steps = run.steps
    if not steps:
        return None
    seconds = np.cumsum([row["seconds"] for row in steps])
    return float(np.interp(tokens, [0, *(row["tokens"] for row in steps)], [0.0, *seconds]))


def _interval(values: Sequence[float], level: float, least: float = 0.0) -> Interval | None:
    """A t over seeds; of one seed only the value. Neither tokens nor seconds nor a loss are below 0."""
    if not values:
        return None
    found = estimate([(1.0, Sample(np.array(values, dtype=np.float64)))])
    bounds = found.bounds(level)
    return Interval(found.mean, max(least, bounds[0]), bounds[1], found.method) if bounds else Interval(found.mean)


def _of_some(interval: Interval | None) -> Interval | None:
    return None if interval is None else Interval(interval.mean, method="of those that got there")
