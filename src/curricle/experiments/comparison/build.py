"""From run folders to a comparison: every figure of every arm, each against the base arm, and what to think of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .cells import figure_cells
from .checks import judge, parse_checks
from .compute import arm_compute, experts_of, of_experts, unequal
from .config import CheckConfig, ComparisonConfig
from .domains import domain_losses
from .facts import ArmFacts, changes
from .progress import build_progress
from .questions import open_questions, unfair
from .shape import ArmInfo, Comparison, Compute, MetricInfo


def build_comparison(
    name: str,
    folder: str | Path,
    arms: Sequence[ArmFacts],
    config: ComparisonConfig | None = None,
    checks: Sequence[CheckConfig] = (),
) -> Comparison:
    """Compare finished arms; folders of runs are named relative to `folder`.

    >>> comparison = build_comparison("mine", "runs/mine", [read_arm("runs/mine/a"), read_arm("runs/mine/b")])
    ...                                                                                      # doctest: +SKIP
    """
    config = config or ComparisonConfig()
    base = next((arm for arm in arms if arm.name == config.base), arms[0])
    metrics = metric_infos(arms)
    cells = [cell for info in metrics for cell in figure_cells(arms, base, info, config)]
    compute = [arm_compute(arm) for arm in arms]
    return Comparison(
        name=name,
        base=base.name,
        level=config.level,
        arms=[ArmInfo(arm.name, changes(base.settings, arm.settings), arm.seeds, arm.trained) for arm in arms],
        metrics=metrics,
        cells=cells,
        compute=compute,
        progress=build_progress(arms, base, config.level),
        checks=judge(parse_checks(checks), arms, config),
        open_questions=open_questions(cells, arms, base),
        warnings=_warnings(arms, base, config, compute),
        provenance=_provenance(arms),
        runs=_runs(arms, Path(folder)),
        domains=domain_losses(arms, base, config),
    )


def _warnings(
    arms: Sequence[ArmFacts], base: ArmFacts, config: ComparisonConfig, compute: Sequence[Compute]
) -> list[str]:
    experts = experts_of(arms, base)
    return [
        *_other_base(config.base, base.name),
        *of_experts(experts, base),
        *unequal(compute, base.name, [arm.name for arm in experts]),
        *unfair(arms, base),
    ]


def _other_base(asked: str | None, base: str) -> list[str]:
    """What is finished is compared, though the arm to compare with is not."""
    return [] if asked in (None, base) else [f"{asked} has no finished run, so the others are compared with {base}"]


def metric_infos(arms: Sequence[ArmFacts]) -> list[MetricInfo]:
    """Every figure that some run has, in the order they were measured; its note is the first run's."""
    found: dict[str, MetricInfo] = {}
    for arm in arms:
        for run in arm.runs.values():
            for name in run.metrics:
                about = (run.results.get("metric_info") or {}).get(name, {})
                higher = bool(about.get("higher_is_better", True))
                found.setdefault(name, MetricInfo(name, higher, about.get("note", "")))
    return list(found.values())


# ---- where it comes from --------------------------------------------------------------------------------------------


def _provenance(arms: Sequence[ArmFacts]) -> dict[str, Any]:
    first = next(iter(arms[0].runs.values())).results
    return {
        "recipe_hash": {arm.name: next(iter(arm.runs.values())).results.get("recipe_hash") for arm in arms},
        "git": first.get("git"),
        "versions": first.get("versions", {}),
        "data": {arm.name: _data(next(iter(arm.runs.values())).results) for arm in arms},
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _data(results: dict[str, Any]) -> dict[str, Any]:
    """Which rows, by hash; without the long reports of how they were read."""
    found = results.get("data") or {}
    return {
        which: {name: value for name, value in about.items() if name != "report"}
        for which, about in found.items()
        if isinstance(about, dict)
    }


def _runs(arms: Sequence[ArmFacts], folder: Path) -> list[dict[str, Any]]:
    return [
        {"arm": arm.name, "seed": run.seed, "folder": os.path.relpath(run.folder, folder), "results": run.results}
        for arm in arms
        for run in arm.runs.values()
    ]
