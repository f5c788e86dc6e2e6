"""Which charts a comparison has: what each shows, in words, as a drawing and as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from markupsafe import Markup

from ..comparison.shape import Comparison, MetricInfo
from .curves import NARROW, WIDE, Axis, Drawing, Line, Range, Row, draw, draw_panel
from .histories import History, Points, mean_line, smoothed, thinned, window_of
from .tables import Table, marks_table
from .words import SIGNS, count, decimals_for, direction, mean, number, percent, plural, with_spread

TOKENS = "tokens trained on"
TABLE_ROWS = 10
PEAKS, STRETCHES = 100, 40
"""Of a run: those whose largest gradient norms make a thin line, and whose medians the thick one."""


@dataclass(frozen=True)
class Chart:
    """A figure of the page: drawings as finished SVG, and the same as a table."""

    name: str
    title: str
    caption: str
    drawings: list[Markup]
    table: Table | None = None


def arm_numbers(comparison: Comparison) -> dict[str, int]:
    """The base arm is 0, so that it is always drawn alike; the others follow in their order."""
    others = [arm.name for arm in comparison.arms if arm.name != comparison.base]
    return {name: i for i, name in enumerate([comparison.base, *others])}


def curve_charts(comparison: Comparison, runs: Sequence[History]) -> list[Chart]:
    """Everything over tokens; a chart without a single point is left out."""
    charts = [
        training_loss(comparison, runs),
        heldout_loss(comparison),
        loss_at_marks(comparison),
        gradient_norms(comparison, runs),
        *during_training(comparison, runs),
    ]
    return [chart for chart in charts if chart is not None]


def training_loss(comparison: Comparison, runs: Sequence[History]) -> Chart | None:
    trained = [run for run in runs if len(run.tokens)]
    if not trained:
        return None
    window = max(window_of(len(run.tokens)) for run in trained)
    each = f"Each point is the mean over {window} steps. " if window > 1 else ""
    by_arm = _by_arm(comparison, trained, lambda run: thinned(*_smooth(run)))
    caption = f"Loss on what was trained on, before any weighting. {each}{_thin(by_arm)}{_left_out(trained, 'loss')}"
    return _curves(comparison, "training-loss", "Training loss", "loss", by_arm, caption)


def _smooth(run: History) -> tuple[np.ndarray, np.ndarray]:
    finite = np.isfinite(run.loss)
    return run.tokens[finite], smoothed(run.loss[finite], window_of(int(finite.sum())))


def gradient_norms(comparison: Comparison, runs: Sequence[History]) -> Chart | None:
    trained = [run for run in runs if np.isfinite(run.grad_norm).any()]
    if not trained:
        return None
    numbers = arm_numbers(comparison)
    peaks = [Line(thinned(run.tokens, run.grad_norm, np.max, PEAKS), numbers[run.arm]) for run in trained]
    medians = _by_arm(comparison, trained, lambda run: thinned(run.tokens, run.grad_norm, np.median, STRETCHES))
    finite = np.concatenate([run.grad_norm[np.isfinite(run.grad_norm)] for run in trained])
    log = bool(finite.min() > 0 and finite.max() / finite.min() > 20)
    caption = (
        "Before clipping. Thin lines are seeds, with the largest norm of each stretch of steps, so that no spike is "
        f"lost; the thick line is the mean over seeds of the stretches' medians."
        f"{' The scale is logarithmic.' if log else ''}{_left_out(trained, 'grad_norm')}"
    )
    return _curves(
        comparison, "gradient-norm", "Gradient norm", "norm", medians, caption, thin=peaks, y=Axis("gradient norm", log)
    )


def _thin(by_arm: dict[str, dict[int, Points]]) -> str:
    """What thin lines are, where there are any."""
    several = any(len(seeds) > 1 for seeds in by_arm.values())
    return "Thin lines are seeds, the thick one is their mean where all of them were." if several else ""


def _left_out(runs: Iterable[History], column: str) -> str:
    """Said, when something cannot be drawn."""
    num = sum(int((~np.isfinite(getattr(run, column))).sum()) for run in runs)
    return f" {plural(num, 'step')} without a finite value cannot be drawn." if num else ""


def heldout_loss(comparison: Comparison) -> Chart | None:
    by_arm = {
        arm: {seed: [(float(x), y) for x, y in points] for seed, points in progress.curves.items() if points}
        for arm, progress in comparison.progress.arms.items()
    }
    by_arm = {arm: seeds for arm, seeds in by_arm.items() if seeds}
    if not by_arm:
        return None
    marks = [float(mark) for mark in comparison.progress.marks]
    caption = f"Loss on held-out data at each evaluation. {_thin(by_arm)}"
    if marks:
        caption += " Dotted verticals are the marks at which the arms are compared."
    return _curves(comparison, "heldout-loss", "Held-out loss", "loss", by_arm, caption, marks=marks)


def during_training(comparison: Comparison, runs: Sequence[History]) -> list[Chart]:
    """Figures that the recipe had measured at every evaluation, on the first held-out rows."""
    charts = []
    for i, name in enumerate(dict.fromkeys(name for run in runs for name in run.figures())):
        measured = [run for run in runs if name in run.figures()]
        by_arm = _by_arm(comparison, measured, partial(_heldout, name=name))
        caption = f"Measured during training, on the first held-out examples. {_thin(by_arm)}"
        charts.append(_curves(comparison, f"during-{i}", f"{name} during training", name, by_arm, caption))
    return charts


def _heldout(run: History, name: str) -> Points:
    return [(row["tokens_trained"], row[name]) for row in run.heldout if isinstance(row.get(name), float)]


def _by_arm(
    comparison: Comparison, runs: Iterable[History], points: Callable[[History], Points]
) -> dict[str, dict[int, Points]]:
    found: dict[str, dict[int, Points]] = {arm.name: {} for arm in comparison.arms}
    for run in runs:
        found[run.arm][run.seed] = points(run)
    return {arm: seeds for arm, seeds in found.items() if any(seeds.values())}


def _curves(
    comparison: Comparison,
    name: str,
    title: str,
    what: str,
    by_arm: dict[str, dict[int, Points]],
    caption: str,
    thin: Sequence[Line] | None = None,
    y: Axis | None = None,
    marks: Sequence[float] = (),
) -> Chart:
    """Seeds thin, means thick; the table has the means at a few places."""
    numbers = arm_numbers(comparison)
    means = {arm: mean_line(seeds.values()) for arm, seeds in by_arm.items()}
    means = {arm: line for arm, line in means.items() if line}
    if thin is None:
        thin = [Line(line, numbers[arm]) for arm, seeds in by_arm.items() if len(seeds) > 1 for line in seeds.values()]
    lines = [*thin, *(Line(line, numbers[arm], arm) for arm, line in means.items())]
    ends = "; ".join(f"{arm} ends at {number(line[-1][1])}" for arm, line in means.items())
    drawing = Drawing(title, f"By {TOKENS}: {ends}.", Axis(TOKENS), y or Axis(what), lines, marks=marks)
    drawings = [Markup(draw(drawing, size, name)) for size in (WIDE, NARROW)]
    return Chart(name, title, caption, drawings, _table(means))


def _table(means: dict[str, Points]) -> Table:
    """The mean lines, read off at round places along the longest of them."""
    end = max(line[-1][0] for line in means.values())
    start = min(line[0][0] for line in means.values())
    rows = []
    for at in np.linspace(start, end, TABLE_ROWS):
        row = [count(round(float(at)))]
        for line in means.values():
            xs, ys = zip(*line, strict=True)
            row.append(number(float(np.interp(at, xs, ys))) if xs[0] <= at <= xs[-1] else "–")
        rows.append(row)
    return Table([TOKENS, *means], rows)


def loss_at_marks(comparison: Comparison) -> Chart | None:
    progress, numbers = comparison.progress, arm_numbers(comparison)
    ranges = [
        Range(float(mark), found.mean, found.low, found.high, numbers[arm])
        for arm, own in progress.arms.items()
        for mark, found in zip(progress.marks, own.at_marks, strict=True)
        if found is not None
    ]
    if not ranges:
        return None
    names = {numbers[arm]: arm for arm in progress.arms}
    title = "Held-out loss at equal tokens"
    caption = (
        f"At each mark, between evaluations by straight line; bars are intervals of {percent(comparison)} "
        "where there are seeds enough."
    )
    said = f"At {plural(len(progress.marks), 'mark')}, one sign an arm; the table has the figures."
    drawing = Drawing(title, said, Axis(TOKENS), Axis("loss"), ranges=ranges, names=names)
    drawings = [Markup(draw(drawing, size, "marks")) for size in (WIDE, NARROW)]
    return Chart("marks", title, caption, drawings, marks_table(comparison))


def panels(comparison: Comparison) -> list[Chart]:
    """A panel a figure: differences from the base arm, or the arms' own values where there is nothing to compare."""
    found = [_panel(comparison, metric, i) for i, metric in enumerate(comparison.metrics)]
    return [chart for chart in found if chart is not None]


def _panel(comparison: Comparison, metric: MetricInfo, i: int) -> Chart | None:
    numbers = arm_numbers(comparison)
    cells = [cell for cell in comparison.cells if cell.metric == metric.name]
    base = comparison.cell(comparison.base, metric.name)
    decimals = decimals_for(comparison, metric.name)
    rows = []
    for cell in cells:
        if (difference := cell.difference) is not None:
            bases, found = base.per_seed if base else {}, difference.interval
            seeds = [value - bases[seed] for seed, value in cell.per_seed.items() if seed in bases]
            value = f"{mean(found, True, decimals)} {SIGNS[difference.verdict]} {difference.verdict}"
            rows.append(Row(cell.arm, value, (found.mean, found.low, found.high), seeds, numbers[cell.arm]))
    if rows:
        side = "better to the right →" if metric.higher_is_better else "← better to the left"
        return _panel_chart(metric, rows, True, f"less {comparison.base}; {side}", i)
    rows = [
        Row(
            cell.arm,
            with_spread(cell.interval, decimals=decimals),
            (cell.interval.mean, cell.interval.low, cell.interval.high),
            list(cell.per_seed.values()),
            numbers[cell.arm],
        )
        for cell in cells
    ]
    return _panel_chart(metric, rows, False, direction(metric), i) if rows else None


def _panel_chart(metric: MetricInfo, rows: list[Row], zero: bool, hint: str, i: int) -> Chart:
    svg = draw_panel(f"{metric.name}: intervals", rows, zero, hint, f"panel-{i}")
    return Chart(f"panel-{i}", metric.name, "", [Markup(svg)])
