"""A law, the user's own or a published one, and what it says of budgets: as text, as JSON, as a picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import RecipeError, nearest
from ...runtime.files import write_json, write_text
from ..drawing import Chart
from .fitting import Fit, fit_law, huber_sum
from .law import PRESETS, TRAINING, Law, Point
from .runs import Runs, read_runs

LEAST_RESAMPLED = 20
Interval = tuple[float, float]


@dataclass(frozen=True)
class Budget:
    """One budget of training FLOPs: its optimum, and the model of that loss that is cheapest with `served` tokens."""

    flops: float
    optimum: Point
    served: float | None
    serving: Point | None
    intervals: dict[str, Interval]


@dataclass(frozen=True)
class ScalingPlan:
    """What `curricle plan scaling` says."""

    name: str
    law: Law
    budgets: tuple[Budget, ...]
    runs: Runs | None = None
    fit: Fit | None = None
    intervals: dict[str, Interval] | None = None

    def as_dict(self) -> dict[str, Any]:
        of_params, of_tokens = self.law.doubling()
        found: dict[str, Any] = {
            "law": self.name,
            "constants": asdict(self.law),
            "doubling": {"N": of_params, "D": of_tokens},
            "budgets": [asdict(budget) for budget in self.budgets],
        }
        if self.fit is not None and self.runs is not None:
            found["runs"] = len(self.runs.loss)
            found["huber_sum"] = self.fit.objective
            found["intervals"] = self.intervals
            found["published"] = {name: huber_sum(law, self.runs) for name, law in PRESETS.items()}
        return found

    def __str__(self) -> str:
        return "\n".join([*self._about_the_law(), *(line for each in self.budgets for line in self._about(each))])

    def _about_the_law(self) -> list[str]:
        of_params, of_tokens = self.law.doubling()
        lines = [f"{self.name}: {self.law}"]
        if self.fit is not None and self.runs is not None:
            lines.append(
                f"{len(self.runs.loss)} runs; sum of Huber errors {self.fit.objective:.6f}, where published laws"
            )
            lines.append(
                "  leave " + ", ".join(f"{huber_sum(law, self.runs):.6f} ({it})" for it, law in PRESETS.items())
            )
            if self.intervals is None:
                lines.append("  no intervals: too few resamples of these runs can be fitted; more runs are needed")
            else:
                lines += [
                    f"  {name:<6}{getattr(self.law, name):>11.5g}   95% {low:.5g} to {high:.5g}"
                    for name, (low, high) in self.intervals.items()
                ]
        lines.append(f"Twice the compute: N x {of_params:.3f}, D x {of_tokens:.3f}")
        return lines

    def _about(self, budget: Budget) -> list[str]:
        best, ranges = budget.optimum, budget.intervals
        lines = [f"Budget of {budget.flops:.4g} FLOPs (6 N D):", f"  least loss          {_point(best)}"]
        lines += [f"    95% of {name:<11}{low:.4g} to {high:.4g}" for name, (low, high) in ranges.items()]
        if self.runs is not None:
            beyond = budget.flops / float((TRAINING * self.runs.params * self.runs.tokens).max())
            if beyond > 10:
                lines.append(f"    {beyond:.3g} times the compute of the largest run: an extrapolation")
        if budget.serving is not None and budget.served is not None:
            spent, instead = budget.serving.flops(budget.served), best.flops(budget.served)
            lines.append(f"  {budget.served:.4g} tokens served {_point(budget.serving)}")
            lines.append(
                f"    the same loss for {spent:.4g} FLOPs of training and serving instead of {instead:.4g} "
                f"({1 - spent / instead:.1%} less)"
            )
        return lines

    def draw(self) -> str:
        """Loss by training compute: the runs, and the least loss that the law has for each."""
        spent = [budget.flops for budget in self.budgets]
        chart = Chart(f"Least loss by compute: {self.name}", "training FLOPs (6 N D)", "loss", log_x=True)
        if self.runs is not None:
            of_runs = (TRAINING * self.runs.params * self.runs.tokens).tolist()
            chart.points.append((list(zip(of_runs, self.runs.loss.tolist(), strict=True)), "one", 2.5))
            spent += of_runs
        low, high = math.log10(min(spent)), math.log10(max(spent))
        if high - low < 1:
            low, high = low - 1, high + 1
        steps = [10**power for power in np.linspace(low, high, 60).tolist()]
        chart.lines.append(([(flops, self.law.optimum(flops).loss) for flops in steps], "two"))
        chart.points.append(([(each.flops, each.optimum.loss) for each in self.budgets], "two", 5))
        return chart.draw()

    def write(self, folder: str | Path) -> None:
        """scaling.json and scaling.svg."""
        write_json(Path(folder) / "scaling.json", self.as_dict())
        write_text(Path(folder) / "scaling.svg", self.draw())


def plan_scaling(
    runs: Sequence[str | Path] = (),
    *,
    preset: str | None = None,
    flops: Sequence[float] = (),
    served: float | None = None,
    columns: Mapping[str, str] | None = None,
    drop_highest: int = 0,
    num_resamples: int = 200,
    seed: int = 0,
) -> ScalingPlan:
    """Fit the law to `runs` (tables, run folders), or take a published one, and say what it has for each budget."""
    _check(runs, preset, flops, served)
    if preset is not None:
        law = PRESETS[preset]
        return ScalingPlan(preset, law, tuple(_budget(law, each, served, ()) for each in flops))
    found = read_runs(runs, columns).without_highest(drop_highest)
    fit = fit_law(found, num_resamples=num_resamples, seed=seed)
    resampled = fit.resampled if len(fit.resampled) >= max(LEAST_RESAMPLED, num_resamples / 2) else ()
    intervals = {name: _interval(resampled, lambda law, name=name: getattr(law, name)) for name in asdict(fit.law)}  # type: ignore[misc]
    budgets = tuple(_budget(fit.law, each, served, resampled) for each in flops)
    return ScalingPlan("fit", fit.law, budgets, found, fit, intervals if resampled else None)


def _check(runs: Sequence[str | Path], preset: str | None, flops: Sequence[float], served: float | None) -> None:
    if bool(runs) == (preset is not None):
        raise RecipeError("give either runs to fit (a table, run folders) or a preset; presets: " + ", ".join(PRESETS))
    if preset is not None and preset not in PRESETS:
        raise RecipeError(f"no preset {preset!r}; {nearest(preset, PRESETS)}")
    if preset is not None and not flops:
        raise RecipeError("a preset needs a budget to speak of; give its training FLOPs, such as --flops 1e20.")
    for name, value in [*(("flops", each) for each in flops), ("served", 1.0 if served is None else served)]:
        if not (math.isfinite(value) and value > 0):
            raise RecipeError(f"{name} is {value}; it takes a finite number above 0.")
    if served is not None and not flops:
        raise RecipeError("served tokens are weighed against a training budget; give --flops too.")


def _budget(law: Law, flops: float, served: float | None, resampled: Sequence[Law]) -> Budget:
    best = law.optimum(flops)
    serving = None if served is None else law.serving_optimum(best.loss, served)
    optima = [each.optimum(flops) for each in resampled]
    kinds = {"N": "params", "D": "tokens", "loss": "loss"} if optima else {}
    intervals = {
        name: _interval(optima, lambda point, kind=kind: getattr(point, kind))  # type: ignore[misc]
        for name, kind in kinds.items()
    }
    return Budget(flops, best, served, serving, intervals)


def _interval(found: Sequence[Any], of: Callable[[Any], float]) -> Interval:
    if not found:
        return math.nan, math.nan
    low, high = np.percentile([of(each) for each in found], [2.5, 97.5])
    return float(low), float(high)


def _point(point: Point) -> str:
    per = point.tokens / point.params
    return f"N {point.params:.4g}, D {point.tokens:.4g} ({per:.4g} tokens a parameter), loss {point.loss:.4f}"
