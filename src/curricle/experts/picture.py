"""Pictures of differences, as plain SVG that any browser shows: tails beside a Gaussian, layers, cosines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from itertools import pairwise

from .statistics import BINS, REACH, Layer, Summary, percent

WIDTH, LEFT, TOP, HEIGHT = 640, 64, 34, 200
FLOOR = 1e-7
"""The share of numbers at which the axis of a histogram begins."""
CELL = 64
STYLE = """<style>
svg { --page: #fdfdfb; --ink: #1c2127; --soft: #5b636e; --line: #dfe0dc; --bar: #0072b2; --mark: #c8500a; }
@media (prefers-color-scheme: dark) {
svg { --page: #14171b; --ink: #e9e7e2; --soft: #a7adb6; --line: #2e333a; --bar: #5eb3e8; --mark: #f0884a; } }
text { font: 12px system-ui, sans-serif; fill: var(--ink); } .soft { fill: var(--soft); } .title { font-weight: 600; }
.page { fill: var(--page); } .bar { fill: var(--bar); } .axis { stroke: var(--line); }
.gauss { fill: none; stroke: var(--mark); stroke-width: 2; } .less { fill: var(--mark); }
</style>"""


def draw_summary(summary: Summary) -> str:
    """The histogram of all changed numbers beside the Gaussian's, and how far each layer moved."""
    middle = TOP + HEIGHT + 82
    layers, bottom = _bars([(layer.name, [layer]) for layer in summary.layers], middle)
    parts = [_histogram(summary), _text(0, middle - 14, "Norm of the change / norm of the weights", "title"), layers]
    said = f"kurtosis {_number(summary.whole.kurtosis)}, beyond 3 sigma {percent(summary.whole.beyond_3_sigma)}"
    return _svg(f"Change of {summary.name}", said, parts, bottom)


def draw_together(summaries: Sequence[Summary], cosines: Sequence[Sequence[float | None]]) -> str:
    """Cosines between all experts, and how far each of them moved each layer."""
    names = [summary.name for summary in summaries]
    matrix, below = _matrix(names, cosines)
    places = {layer.name: None for summary in summaries for layer in summary.layers}
    of = [{layer.name: layer for layer in summary.layers} for summary in summaries]
    rows = [(place, [each.get(place, Layer(place, 0.0, 0.0)) for each in of]) for place in places]
    legend = _text(0, below + 40, f"In each layer from top to bottom: {', '.join(names)}", "soft")
    layers, bottom = _bars(rows, below + 56)
    title = _text(0, below + 22, "Norm of the change / norm of the weights", "title")
    said = "; ".join(f"{names[i]} and {names[j]} {_number(cosines[i][j])}" for i in range(len(names)) for j in range(i))
    return _svg("Cosines between changes", said or names[0], [matrix, title, legend, layers], bottom)


def _svg(title: str, said: str, parts: Iterable[str], bottom: float) -> str:
    height = math.ceil(bottom + 12)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-12 0 {WIDTH + 24} {height}" width="{WIDTH + 24}" '
        f'role="img"><title>{escape(title)}</title><desc>{escape(said)}</desc>{STYLE}'
        f'<rect class="page" x="-12" width="{WIDTH + 24}" height="{height}"/>{_text(0, 20, title, "title")}'
        f"{''.join(parts)}</svg>\n"
    )


def _histogram(summary: Summary) -> str:
    """Shares on a logarithmic scale: heavy tails are there to be seen."""
    width = (WIDTH - LEFT) / BINS
    base = TOP + HEIGHT

    def height(share: float) -> float:
        return HEIGHT * max(0.0, 1 - math.log10(max(share, FLOOR)) / math.log10(FLOOR))

    bars = [
        f'<rect class="bar" x="{LEFT + i * width + 1:.1f}" y="{base - height(share):.1f}" width="{width - 2:.1f}" '
        f'height="{height(share):.1f}"/>'
        for i, share in enumerate(summary.histogram["share"])
    ]
    edges = summary.histogram["edges_in_sigma"]
    curve = [
        f"{LEFT + (i + 0.5) * width:.1f},{base - height(share):.1f}"
        for i, share in enumerate(_gaussian(low, high) for low, high in pairwise(edges))
        if share > FLOOR
    ]
    ticks = [
        _text(LEFT + (WIDTH - LEFT) * (at / REACH + 1) / 2, base + 16, f"{at:g}", "soft", "middle")
        for at in (-12, -9, -6, -3, 0, 3, 6, 9, 12)
    ]
    shares = [
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH}" y1="{base - height(share):.1f}" y2="{base - height(share):.1f}"/>'
        + _text(LEFT - 6, base - height(share) + 4, percent(share), "soft", "end")
        for share in (1e-1, 1e-3, 1e-5)
    ]
    said = "Share of the changed numbers by standard deviations from the mean. Line: Gaussian. Ends: all beyond."
    below = _text(0, base + 38, said, "soft")
    return "".join([*shares, *bars, f'<polyline class="gauss" points="{" ".join(curve)}"/>', *ticks, below])


def _gaussian(low: float, high: float) -> float:
    return (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2))) / 2


def _bars(rows: Sequence[tuple[str, Sequence[Layer]]], top: float) -> tuple[str, float]:
    """A row for each layer, in it a bar for each expert; and where it ends."""
    largest = max((layer.relative_norm or 0.0 for _, layers in rows for layer in layers), default=0.0)
    left = 200
    parts, y = [], top
    for name, layers in rows:
        thick = max(4.0, 14 / len(layers))
        longest = max(layer.relative_norm or 0.0 for layer in layers)
        parts.append(_text(left - 8, y + thick * len(layers) / 2 + 4, name[-30:], "soft", "end"))
        for layer in layers:
            length = (WIDTH - left - 70) * (layer.relative_norm or 0.0) / largest if largest else 0.0
            parts.append(
                f'<rect class="bar" x="{left}" y="{y:.1f}" width="{length:.1f}" height="{thick - 1:.1f}"/>'
                + (
                    _text(left + length + 6, y + thick / 2 + 4, percent(longest))
                    if layer.relative_norm == longest
                    else ""
                )
            )
            y += thick
        y += 5
    return "".join(parts), y


def _matrix(names: Sequence[str], cosines: Sequence[Sequence[float | None]]) -> tuple[str, float]:
    """Cells coloured by the cosine's size; negative ones in the other colour."""
    left, top = 130, TOP + 18
    wide = min(CELL, (WIDTH - left) / len(names))
    parts = []
    for i, name in enumerate(names):
        parts.append(_text(left - 8, top + i * CELL / 2 + 20, name[:18], "soft", "end"))
        parts.append(_text(left + (i + 0.5) * wide, top - 6, name[: int(wide / 7)], "soft", "middle"))
        for j, cosine in enumerate(cosines[i]):
            x, y, colour = left + j * wide, top + i * CELL / 2, "less" if (cosine or 0) < 0 else "bar"
            parts.append(
                f'<rect class="{colour}" x="{x:.1f}" y="{y}" width="{wide - 2:.1f}" height="{CELL / 2 - 2}" '
                f'opacity="{0.08 + 0.6 * abs(cosine or 0):.3f}"/>'
                + _text(x + wide / 2 - 1, y + 20, _number(cosine), anchor="middle")
            )
    return "".join(parts), top + len(names) * CELL / 2


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _text(x: float, y: float, said: str, kind: str = "", anchor: str = "start") -> str:
    shape = f' class="{kind}"' if kind else ""
    return f'<text{shape} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(said)}</text>'
