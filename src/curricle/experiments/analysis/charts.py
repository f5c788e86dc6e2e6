"""The drawings of the page: layers, histograms, what each score foresees."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from markupsafe import Markup

from ..comparison.shape import Interval
from ..report.charts import Chart
from ..report.curves import (
    NARROW,
    WIDE,
    Axis,
    Drawing,
    Line,
    Range,
    Row,
    Scale,
    colour,
    draw,
    draw_panel,
    text,
    tick_texts,
)
from ..report.words import number
from .foresee import is_headline, uneven
from .shape import Analysis, ColumnInfo, Foresight, Kind, LayersInfo, Spread
from .words import interval, percent

ARM: dict[Kind, int] = {"meta token": 1, "baseline": 0, "other": 3}
"""Which marker and colour of the report a kind of column has."""
FIGURES = {
    "rho": "Spearman's rho",
    "partial": "rho given length",
    "auc": "AUC of the harder half",
    "accuracy": "accuracy of the harder half",
}
CURVES = 3
"""Columns whose tenths are drawn."""


def layer_charts(layers: LayersInfo, several: bool, i: int) -> list[Chart]:
    """As measured, and on one scale."""
    of = f" of {layers.file}" if several else ""
    first = _ranges([(layer.layer, layer.raw) for layer in layers.layers])
    second = _ranges([(layer.layer, layer.standardised) for layer in layers.layers])
    caption = "The sign is the median over the examples; the bar reaches from the 5% to the 95% quantile."
    return [
        _chart(f"layers-{i}", f"Difference at each layer{of}", caption, first, "difference"),
        _chart(
            f"standardised-{i}",
            f"The same, standardised{of}",
            f"{caption} Each layer less its mean, by its spread: what the scores are made of.",
            second,
            "standardised difference",
        ),
    ]


def _ranges(spreads: Sequence[tuple[int, Spread]]) -> list[Range]:
    return [
        Range(float(layer), of.quantiles["0.5"], of.quantiles["0.05"], of.quantiles["0.95"], ARM["meta token"])
        for layer, of in spreads
    ]


def _chart(name: str, title: str, caption: str, ranges: Sequence[Range], what: str) -> Chart:
    said = f"{len(ranges)} layers; the table has the figures."
    drawing = Drawing(title, said, Axis("layer", whole=True), Axis(what), ranges=ranges)
    return Chart(name, title, caption, [Markup(draw(drawing, size, name)) for size in (WIDE, NARROW)])


def histograms(analysis: Analysis) -> list[Chart]:
    return [_histogram(column, i) for i, column in enumerate(analysis.columns)]


def _histogram(column: ColumnInfo, i: int) -> Chart:
    """A bar for each bin; the dotted line is the median."""
    width, left, right, top, bottom = 340, 40.0, 332.0, 8.0, 132.0
    of, name = column.spread, f"spread-{i}"
    caption = (
        f"median {number(of.quantiles['0.5'])}, 5% {number(of.quantiles['0.05'])}, 95% {number(of.quantiles['0.95'])}"
    )
    if not column.counts:
        return Chart(name, column.name, "no example has a value", [])
    x = Scale(column.edges[0], column.edges[-1], left, right)
    y = Scale(0.0, float(max(column.counts)), bottom, top)
    parts = []
    for tick, said in zip(ticks := y.ticks(3), tick_texts(ticks), strict=True):
        parts.append(
            f'<path class="grid" d="M{left} {y(tick):.1f}H{right}"/>' + text("tick", left - 6, y(tick) + 4, said, "end")
        )
    bars = "".join(
        f'<path class="m" d="M{x(low):.1f} {bottom}V{y(count):.1f}H{x(high):.1f}V{bottom}z"/>'
        for low, high, count in zip(column.edges, column.edges[1:], column.counts, strict=False)
        if count
    )
    parts.append(f'<g class="{colour(ARM[column.kind])}">{bars}</g>')
    parts.append(f'<path class="mark" d="M{x(of.quantiles["0.5"]):.1f} {top}V{bottom}"/>')
    parts.append(f'<path class="base" d="M{left} {bottom}H{right}"/>')
    for tick, said in zip(ticks := x.ticks(4), tick_texts(ticks), strict=True):
        parts.append(
            f'<path class="tickline" d="M{x(tick):.1f} {bottom}v5"/>'
            + text("tick", x(tick), bottom + 19, said, "middle")
        )
    svg = (
        f'<svg class="panel" viewBox="0 0 {width} 156" role="img" aria-labelledby="{name}-t {name}-d">'
        f'<title id="{name}-t">{escape(column.name)}</title><desc id="{name}-d">{escape(caption)}</desc>'
        f"{''.join(parts)}</svg>"
    )
    return Chart(name, column.name, caption, [Markup(svg)])


def panels(foresight: Foresight) -> list[Chart]:
    """A panel a figure, a row a column, the strongest first."""
    found = [_panel(foresight, figure, title) for figure, title in FIGURES.items()]
    return [chart for chart in found if chart is not None]


def _panel(foresight: Foresight, figure: str, title: str) -> Chart | None:
    rows = []
    for column in foresight.columns:
        value: Interval | None = getattr(column, figure)
        if value is not None:
            said = percent(value) if figure == "accuracy" else interval(value)
            rows.append(Row(column.column, said, (value.mean, value.low, value.high), [], ARM[column.kind]))
    if not rows:
        return None
    signed = figure in ("rho", "partial")
    hint = f"with {foresight.target}; 0 says nothing" if signed else "0.5 is chance"
    if figure == "accuracy" and any(uneven(column.chance) for column in foresight.columns):
        hint = "the table says what is chance"
    return Chart(f"panel-{figure}", title, "", [Markup(draw_panel(title, rows, signed, hint, f"panel-{figure}"))])


def tenths(foresight: Foresight) -> Chart | None:
    """The target over the order of the strongest columns, the score named in advance among them."""
    names = [column.column for column in foresight.columns if column.column in foresight.deciles]
    named = [name for name in names if is_headline(name)][:1]
    names = list(dict.fromkeys([*named, *names]))[:CURVES]
    if not names:
        return None
    lines = [Line(foresight.deciles[name], i, name) for i, name in enumerate(names)]
    title = f"Mean {foresight.target} along each score"
    caption = (
        "Examples in the order of a score, from its lowest tenth to its highest. A score that says nothing is flat."
    )
    drawing = Drawing(title, caption, Axis("place in the score's order, %"), Axis(foresight.target), lines)
    return Chart("tenths", title, caption, [Markup(draw(drawing, size, "tenths")) for size in (WIDE, NARROW)])
