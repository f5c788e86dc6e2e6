"""One figure of all arms: each arm's own value, its difference from the base arm, and the verdict on it."""

from __future__ import annotations

from collections.abc import Sequence

from ...runtime.progress import counted
from .config import ComparisonConfig
from .contrast import Contrast, difference, no_spread, own_figure
from .facts import ArmFacts
from .shape import Cell, Difference, MetricInfo, Verdict
from .statistics import holm, holm_levels


def figure_cells(arms: Sequence[ArmFacts], base: ArmFacts, info: MetricInfo, config: ComparisonConfig) -> list[Cell]:
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
