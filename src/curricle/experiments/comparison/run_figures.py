"""Figures that a run's own books hold, without any measuring: norms, times, memory, whether the loss falls."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from ..convergence import converged_at, spread
from .compute import tokens_per_second
from .facts import RunFacts
from .progress import seconds_to, tokens_to

Figure = Callable[[RunFacts], float | None]
GIB = 2**30


def _norms(run: RunFacts) -> list[float]:
    """JSON has no infinity and writes null: a step that a loss scaler skipped."""
    return [float(row["grad_norm"]) for row in run.steps if row.get("grad_norm") is not None]


def _after_warmup(run: RunFacts) -> list[float]:
    """The norms from the first step with the highest learning rate on."""
    rates = [row.get("learning_rate") or 0.0 for row in run.steps]
    start = rates.index(max(rates)) if rates else 0
    return [float(row["grad_norm"]) for row in run.steps[start:] if row.get("grad_norm") is not None]


def _max(values: Sequence[float]) -> float | None:
    return max(values, default=None)


def _booked(name: str, scale: float = 1.0) -> Figure:
    def read(run: RunFacts) -> float | None:
        value = run.results.get(name)
        return None if value is None else value / scale

    return read


def _seconds_per_epoch(run: RunFacts) -> float | None:
    """Of the steps alone: loading, evaluations and saving take the same whatever is trained."""
    epochs = run.results.get("epochs") or 0
    return sum(row["seconds"] for row in run.steps) / epochs if epochs and run.steps else None


def _clipped(run: RunFacts) -> float | None:
    return 100.0 * sum(bool(row.get("clipped")) for row in run.steps) / len(run.steps) if run.steps else None


def losses_by_epoch(run: RunFacts) -> list[float]:
    """The mean training loss over the answer tokens of each epoch; a last one of less than half is left out."""
    sums: dict[int, list[float]] = {}
    for row in run.steps:
        epoch = max(1, math.ceil(row["epoch"] - 1e-9))
        total = sums.setdefault(epoch, [0.0, 0.0])
        total[0] += row["loss"] * row["step_supervised_tokens"]
        total[1] += row["step_supervised_tokens"]
    if sums and run.steps[-1]["epoch"] - (max(sums) - 1) < 0.5:
        del sums[max(sums)]
    return [total / count for total, count in sums.values() if count]


def heldout_by_epoch(run: RunFacts) -> list[float]:
    """The last held-out loss of each epoch; nothing unless every epoch of the run has one."""
    epoch_of = {row["step"]: max(1, math.ceil(row["epoch"] - 1e-9)) for row in run.steps}
    last = {epoch_of[row["step"]]: float(row["loss"]) for row in run.evaluations if row["step"] in epoch_of}
    num_epochs = len(losses_by_epoch(run))
    return [last[epoch] for epoch in sorted(last)] if set(range(1, num_epochs + 1)) <= set(last) else []


def _falls(run: RunFacts) -> float | None:
    losses = heldout_by_epoch(run) or losses_by_epoch(run)
    if len(losses) < 2:
        return None
    return float(all(after < before for before, after in pairwise(losses)))


RUN_FIGURES: dict[str, Figure] = {
    "grad_norm.max": lambda run: _max(_norms(run)),
    "grad_norm.max_after_warmup": lambda run: _max(_after_warmup(run)),
    "grad_norm.median": lambda run: statistics.median(norms) if (norms := _norms(run)) else None,
    "clipped_steps": _clipped,
    "learning_rate.max": lambda run: _max([row["learning_rate"] for row in run.steps]),
    "loss.falls_each_epoch": _falls,
    "train_loss": _booked("train_loss"),
    "steps": _booked("steps"),
    "tokens": _booked("tokens"),
    "supervised_tokens": _booked("supervised_tokens"),
    "epochs": _booked("epochs"),
    "repeats": _booked("repeats"),
    "seconds": _booked("seconds"),
    "seconds_per_epoch": _seconds_per_epoch,
    "tokens_per_second": lambda run: tokens_per_second(run) or None,
    "peak_memory_gib": _booked("peak_memory_bytes", GIB),
    "layers.spread": lambda run: spread(converged_at(run.steps)),
}
"""Facts about one run. `loss.falls_each_epoch` is 1 or 0: by the held-out loss where every epoch has an evaluation, by
the mean training loss otherwise."""

TO_BASE: dict[str, Callable[[RunFacts, RunFacts], float | None]] = {
    "tokens_to_base": tokens_to,
    "seconds_to_base": seconds_to,
}
"""What it took a run to get to the last held-out loss of the base arm's run of its seed; infinite when it never did."""
OF_RUNS = (*RUN_FIGURES, *TO_BASE)

YES_NO = ("loss.falls_each_epoch",)
IN_PERCENT = ("clipped_steps",)


def run_figure(run: RunFacts, name: str, base: RunFacts | None = None) -> float | None:
    """None where the run has not got it: it was not trained, had fewer than two epochs, or the base arm's run of its
    seed, `base`, gives no mark."""
    if not run.steps and name != "seconds":
        return None
    if name in TO_BASE:
        return None if base is None else TO_BASE[name](run, base)
    value: Any = RUN_FIGURES[name](run)
    return None if value is None else float(value)
