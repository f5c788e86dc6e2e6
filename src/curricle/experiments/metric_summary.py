"""`metric_summary.csv`: a row for every arm, seed and figure of an experiment, as spreadsheets take it.

    arm,seed,metric,domain,value,low,high,level,n,method
    base,,loss,,2.31,2.28,2.34,0.95,40,t over seeds and examples     the arm over its seeds, as the comparison has it
    base,0,loss,,2.32,2.27,2.37,0.95,40,bootstrap over examples      the very model of one seed
    base,0,loss,law,2.11,2.01,2.2,0.95,8,bootstrap over examples     the same over the rows of one domain

`n` is how many examples the interval is over. What has no interval leaves its columns empty. Domains have rows where
the held-out rows name theirs, in every figure that has a value an example.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..runtime.files import write_text
from .compare import arms_of, written_comparison
from .comparison.config import ComparisonConfig
from .comparison.contrast import Contrast, own_figure
from .comparison.facts import ArmFacts
from .results import Result

COLUMNS = ("arm", "seed", "metric", "domain", "value", "low", "high", "level", "n", "method")


def write_metric_summary(run: Result | str | Path | Sequence[str | Path], path: str | Path) -> Path:
    """The figures of an experiment (its folder, or what `curricle.run` gave), or of several runs' folders, as CSV.

    >>> write_metric_summary("runs/quickstart", "metric_summary.csv")   # doctest: +SKIP
    """
    arms, config = _read(run)
    lines = io.StringIO()
    writer = csv.DictWriter(lines, COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(summary_rows(arms, config))
    write_text(path, lines.getvalue())
    return Path(path)


def summary_rows(arms: Sequence[ArmFacts], config: ComparisonConfig | None = None) -> Iterator[dict[str, Any]]:
    """The rows, arm by arm: over all seeds first, where there are several, then each seed."""
    config = config or ComparisonConfig()
    for arm in arms:
        whole = [replace(arm, runs={seed: run}) for seed, run in arm.runs.items()]
        for one in [arm, *whole] if len(whole) > 1 else whole:
            seed = next(iter(one.runs)) if len(one.runs) == 1 else ""
            for metric in dict.fromkeys(name for run in one.runs.values() for name in run.metrics):
                found = own_figure(one, metric, config)
                assert found is not None
                yield {"arm": arm.name, "seed": seed, "metric": metric} | _numbers(found, config.level)
            yield from _domains(one, seed, config)


def _numbers(found: Contrast, level: float) -> dict[str, Any]:
    interval = found.interval(level)
    row: dict[str, Any] = {"value": interval.mean}
    if found.num_examples is not None:
        row["n"] = found.num_examples
    if interval.low is not None:
        row |= {"low": interval.low, "high": interval.high, "level": level, "method": interval.method}
    return row


def _domains(arm: ArmFacts, seed: int | str, config: ComparisonConfig) -> Iterator[dict[str, Any]]:
    """Each domain by itself, in every figure with a value an example."""
    for name in dict.fromkeys(name for run in arm.runs.values() for name in run.domains.values()):
        part = replace(arm, runs={seed_: run.of_domain(name) for seed_, run in arm.runs.items()})
        for metric in dict.fromkeys(name for run in part.runs.values() for name in run.metrics):
            found = own_figure(part, metric, config)
            assert found is not None
            row = {"arm": arm.name, "seed": seed, "metric": metric, "domain": name}
            yield row | _numbers(found, config.level)


def _read(run: Result | str | Path | Sequence[str | Path]) -> tuple[list[ArmFacts], ComparisonConfig]:
    """The finished runs, in the recipe's order, and how its intervals are drawn."""
    if isinstance(run, Result):
        run = run.folder
    folders = [run] if isinstance(run, str | Path) else list(run)
    return arms_of(*folders), written_comparison(folders[0])
