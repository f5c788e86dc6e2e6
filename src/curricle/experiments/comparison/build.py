"""From run folders to a comparison: every figure of every arm, each against the base arm, and what to think of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...runtime.progress import counted
from .checks import judge, parse_checks
from .compute import arm_compute, unequal
from .config import CheckConfig, ComparisonConfig
from .contrast import Contrast, difference, no_spread, own_figure
from .facts import ArmFacts, changes
from .progress import build_progress
from .questions import open_questions, unfair
from .shape import ArmInfo, Cell, Comparison, Difference, MetricInfo, Verdict
from .statistics import holm, holm_levels


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
    cells = [cell for info in metrics for cell in _cells(arms, base, info, config)]
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
        warnings=[*_other_base(config.base, base.name), *unequal(compute, base.name), *unfair(arms, base)],
        provenance=_provenance(arms),
        runs=_runs(arms, Path(folder)),
    )


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


# ---- cells ----------------------------------------------------------------------------------------------------------


def _cells(arms: Sequence[ArmFacts], base: ArmFacts, info: MetricInfo, config: ComparisonConfig) -> list[Cell]:
    """One figure: the arms' own values, and all differences at once, as they are corrected together."""
    found = {arm.name: own_figure(arm, info.name, config) for arm in arms}
    contrasts = {
        arm.name: contrast
        for arm in arms
        if arm is not base and (contrast := difference(arm, base, info.name, config)) is not None
    }
    judged = _judged(contrasts, info, config, base.name)
    return [
        Cell(
            arm=arm.name,
            metric=info.name,
            per_seed={run.seed: run.metrics[info.name] for run in arm.runs.values() if info.name in run.metrics},
            interval=own.interval(config.level),
            difference=judged.get(arm.name),
        )
        for arm in arms
        if (own := found[arm.name]) is not None
    ]


def _judged(
    contrasts: dict[str, Contrast], info: MetricInfo, config: ComparisonConfig, base: str
) -> dict[str, Difference]:
    ps = {name: p for name, each in contrasts.items() if (p := each.estimate.p()) is not None}
    values = list(ps.values())
    corrected, levels = _corrected(values, config)
    p_of = dict(zip(ps, corrected, strict=True))
    level_of = dict(zip(ps, levels, strict=True))
    judged = {}
    for name, contrast in contrasts.items():
        level = level_of.get(name, config.level)
        verdict = _verdict(contrast, p_of.get(name), info, config.level)
        judged[name] = Difference(
            interval=contrast.interval(level),
            p=ps.get(name),
            p_corrected=p_of.get(name),
            verdict=verdict,
            why=_why(contrast, p_of.get(name), len(ps), level, base),
            level=level,
            seeds=contrast.seeds,
            num_examples=contrast.num_examples,
        )
    return judged


def _corrected(ps: list[float], config: ComparisonConfig) -> tuple[list[float], list[float]]:
    if config.correction == "holm":
        return holm(ps), holm_levels(ps, config.level)
    share = len(ps) if config.correction == "bonferroni" else 1
    return [min(1.0, share * p) for p in ps], [1.0 - (1.0 - config.level) / max(1, share)] * len(ps)


def _verdict(contrast: Contrast, p: float | None, info: MetricInfo, level: float) -> Verdict:
    if contrast.problem or p is None:
        return "not decidable"
    if p >= 1.0 - level:
        return "no difference shown"
    return "better" if (contrast.estimate.mean > 0) == info.higher_is_better else "worse"


def _why(contrast: Contrast, p: float | None, num_arms: int, level: float, base: str) -> str:
    """One sentence, for a person."""
    interval = contrast.interval(level)
    found = f"{interval.mean:+.3g}"
    if interval.low is not None and interval.high is not None:
        found += f" [{interval.low:+.3g}, {interval.high:+.3g}]"
    if contrast.problem == "one seed" and contrast.num_examples:
        return (
            f"with one seed these two models differ by {found} on such examples; another seed may turn it, so it is "
            "no verdict on the arms"
        )
    if contrast.problem == "one seed":
        return f"differs by {found}, in one seed and without a value an example: nothing is known of its spread"
    if contrast.problem:
        return contrast.problem
    if no_spread(contrast):
        same = "is the same as" if contrast.estimate.mean == 0 else f"differs by {found} from"
        return f"{same} {base} in every seed and example; no spread is seen, so no interval can be drawn"
    if p is None:
        return f"differs by {found}; nothing is known of its spread"
    rests = f"over {counted(len(contrast.seeds), 'seed')}"
    if contrast.num_examples:
        rests += f" and {counted(contrast.num_examples, 'example')}"
    rests += f" ({contrast.remark})" if contrast.remark else ""
    corrected = f" after correction for {num_arms} arms" if num_arms > 1 else ""
    return f"{found} {rests}; p = {p:.2g}{corrected}"


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
