"""Lines and points over two axes, as plain SVG that any browser shows, light or dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 640, 300, 64, 40, 52
STYLE = """<style>
svg { --page: #fdfdfb; --ink: #1c2127; --soft: #5b636e; --line: #dfe0dc; --one: #0072b2; --two: #c8500a; }
@media (prefers-color-scheme: dark) {
svg { --page: #14171b; --ink: #e9e7e2; --soft: #a7adb6; --line: #2e333a; --one: #5eb3e8; --two: #f0884a; } }
text { font: 12px system-ui, sans-serif; fill: var(--ink); } .soft { fill: var(--soft); } .title { font-weight: 600; }
.page { fill: var(--page); } .axis { stroke: var(--line); } .line { fill: none; stroke-width: 2; }
.one { stroke: var(--one); } .two { stroke: var(--two); }
circle.one { fill: var(--one); } circle.two { fill: var(--two); }
.less { stroke-dasharray: 5 4; }
</style>"""

Pairs = Sequence[tuple[float, float]]


@dataclass
class Chart:
    """What is drawn, in the data's own numbers; `log_x` draws powers of ten at equal distances."""

    title: str
    x: str
    y: str
    log_x: bool = False
    lines: list[tuple[Pairs, str]] = field(default_factory=list)
    points: list[tuple[Pairs, str, float]] = field(default_factory=list)
    """Each with its colour, `one` or `two`; a line may add ` less` (dashed), points have a radius."""

    def draw(self) -> str:
        pairs = [pair for drawn, _ in self.lines for pair in drawn]
        pairs += [pair for drawn, _, _ in self.points for pair in drawn]
        xs, ys = [self._x(x) for x, _ in pairs], [y for _, y in pairs]
        low, high = _widened(min(xs), max(xs)), _widened(min(ys), max(ys))

        def place(x: float, y: float) -> tuple[float, float]:
            across = (self._x(x) - low[0]) / (low[1] - low[0])
            return LEFT + across * (WIDTH - LEFT), TOP + HEIGHT * (1 - (y - high[0]) / (high[1] - high[0]))

        parts = [*self._ticks(low, high)]
        for drawn, kind in self.lines:
            path = " ".join("{:.1f},{:.1f}".format(*place(*pair)) for pair in drawn)
            parts.append(f'<polyline class="line {kind}" points="{path}"/>')
        for drawn, kind, radius in self.points:
            places = [place(*pair) for pair in drawn]
            parts += [f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>' for x, y in places]
        height = TOP + HEIGHT + BOTTOM
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-12 0 {WIDTH + 24} {height}" width="{WIDTH + 24}" '
            f'role="img"><title>{escape(self.title)}</title>{STYLE}'
            f'<rect class="page" x="-12" width="{WIDTH + 24}" height="{height}"/>{_text(0, 20, self.title, "title")}'
            f"{''.join(parts)}</svg>\n"
        )

    def _x(self, x: float) -> float:
        return math.log10(x) if self.log_x else x

    def _ticks(self, across: tuple[float, float], up: tuple[float, float]) -> list[str]:
        base, parts = TOP + HEIGHT, [_text(LEFT, TOP - 6, self.y, "soft")]
        for value in _round_steps(*up):
            y = base - HEIGHT * (value - up[0]) / (up[1] - up[0])
            parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(_text(LEFT - 6, y + 4, f"{value:g}", "soft", "end"))
        whole = self.log_x and across[1] - across[0] > 3
        for value in _round_steps(*across, least=1.0 if whole else 0.0):
            x = LEFT + (WIDTH - LEFT) * (value - across[0]) / (across[1] - across[0])
            parts.append(_text(x, base + 18, f"{10**value:.2g}" if self.log_x else f"{value:g}", "soft", "middle"))
        return [*parts, _text(WIDTH, base + 40, self.x, "soft", "end")]


def _widened(low: float, high: float) -> tuple[float, float]:
    room = 0.04 * (high - low) or 0.5
    return low - room, high + room


def _round_steps(low: float, high: float, least: float = 0.0) -> list[float]:
    """About five round numbers between two."""
    rough = max((high - low) / 6, least)
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= rough * 0.999)
    return [round(i * step, 12) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _text(x: float, y: float, said: str, kind: str = "", anchor: str = "start") -> str:
    shape = f' class="{kind}"' if kind else ""
    return f'<text{shape} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(said)}</text>'
