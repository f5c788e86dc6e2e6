"""Charts as inline SVG. What tells arms apart is the label at the line, its marker and its dashes; colour only helps.

A chart is drawn for one width in pixels and scales a little around it, so that its letters stay letters; a page draws
each chart twice, for a wide and for a narrow screen.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

Point = tuple[float, float]

DASHES = ("", "8 3", "2 3", "9 3 2 3", "14 4", "5 2 1 2 1 2")
MARKERS = ("circle", "square", "triangle", "diamond", "cross", "ring", "down", "bar")
NUM_COLOURS = 8
LETTER = 6.6
"""Average width of a letter of the charts' 12 px text."""


@dataclass(frozen=True)
class Scale:
    """From values to pixels; `start` is where `low` goes."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        at = math.log(value) if self.log else value
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    def ticks(self, num: int = 5) -> list[float]:
        return log_ticks(self.low, self.high) if self.log else nice_ticks(self.low, self.high, num)


def nice_ticks(low: float, high: float, num: int = 5) -> list[float]:
    """About `num` round numbers from low to high, in steps of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / num
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(nice * power for nice in (1, 2, 5, 10) if nice * power >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten, with twos and fives between them where there is room."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    within = (1, 2, 5) if math.log10(high / low) < 3 else (1,)
    every = max(1, len(decades) // 6)
    found = [nice * 10.0**decade for decade in decades[::every] for nice in within]
    return [tick for tick in found if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]


def tick_texts(ticks: Sequence[float]) -> list[str]:
    """As few digits as tell neighbours apart, with k, M, G for large numbers."""
    largest = max((abs(tick) for tick in ticks), default=0.0)
    unit, size = next(((u, s) for u, s in (("G", 1e9), ("M", 1e6), ("k", 1e4)) if largest >= s), ("", 1.0))
    size = 1e3 if unit == "k" else size
    for decimals in range(7):
        texts = [f"{tick / size:.{decimals}f}" for tick in ticks]
        if all(
            math.isclose(float(t), tick / size, rel_tol=1e-6, abs_tol=1e-12)
            for t, tick in zip(texts, ticks, strict=True)
        ):
            break
    else:
        texts = [f"{tick / size:g}" for tick in ticks]
    return [text.replace("-", "−") + ("" if float(text) == 0 else unit) for text in texts]


@dataclass(frozen=True)
class Line:
    """A line of one arm; without a label it is thin, one seed of several."""

    points: Sequence[Point]
    arm: int
    label: str = ""


@dataclass(frozen=True)
class Range:
    """A mean and where it may lie, standing at x."""

    x: float
    mean: float
    low: float | None
    high: float | None
    arm: int


@dataclass(frozen=True)
class Axis:
    label: str
    log: bool = False
    whole: bool = False
    """Nothing stands between whole numbers, so no tick does."""


@dataclass(frozen=True)
class Drawing:
    """What is on a chart, whatever its size."""

    title: str
    description: str
    x: Axis
    y: Axis
    lines: Sequence[Line] = ()
    ranges: Sequence[Range] = ()
    marks: Sequence[float] = ()
    names: dict[int, str] = field(default_factory=dict)
    """The arms' names, for the ranges' labels."""


@dataclass(frozen=True)
class Size:
    name: str
    width: int
    height: int
    label: int
    """Pixels at most for the labels at the lines' ends."""


WIDE = Size("wide", 600, 360, 150)
NARROW = Size("narrow", 340, 320, 92)


def dash(arm: int) -> str:
    return DASHES[arm % len(DASHES)]


def colour(arm: int) -> str:
    """A class of the style sheet; the first arm has the colour of the ink, the others take turns."""
    return "c0" if arm == 0 else f"c{1 + (arm - 1) % (NUM_COLOURS - 1)}"


def text_width(text: str) -> float:
    return sum(LETTER * (1.75 if unicodedata.east_asian_width(letter) in "WF" else 1) for letter in text)


def shortened(text: str, width: float) -> str:
    """The text with its end, or all of it that fits, and an ellipsis."""
    if text_width(text) <= width:
        return text
    while text and text_width(text + "…") > width:
        text = text[:-1]
    return text + "…"


def marker(arm: int, x: float, y: float, r: float = 4.0) -> str:
    """The arm's sign. Filled or hollow, round or cornered: told apart in black and white."""
    kind = MARKERS[arm % len(MARKERS)]
    if kind in ("circle", "ring"):
        return f'<circle class="m {kind}" cx="{x:.1f}" cy="{y:.1f}" r="{r if kind == "circle" else r - 0.5:g}"/>'
    paths = {
        "square": f"M-{r - 0.5} -{r - 0.5}h{2 * r - 1}v{2 * r - 1}h-{2 * r - 1}z",
        "triangle": f"M0 -{r + 0.8}L{r + 0.5} {r - 0.7}H-{r + 0.5}z",
        "down": f"M0 {r + 0.8}L{r + 0.5} -{r - 0.7}H-{r + 0.5}z",
        "diamond": f"M0 -{r + 1}L{r + 1} 0L0 {r + 1}L-{r + 1} 0z",
        "cross": f"M-{r} -{r}L{r} {r}M-{r} {r}L{r} -{r}",
        "bar": f"M0 -{r + 1}V{r + 1}M-{r} 0H{r}",
    }
    return f'<path class="m {kind}" transform="translate({x:.1f} {y:.1f})" d="{paths[kind]}"/>'


def group(arm: int, *parts: str) -> str:
    """Parts of one arm, in its colour; the page can hide them together."""
    return f'<g class="{colour(arm)}" data-arm="{arm}">{"".join(parts)}</g>'


def text(kind: str, x: float, y: float, said: str, anchor: str = "start") -> str:
    end = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}"{end}>{escape(said)}</text>'


def path(points: Iterable[Point]) -> str:
    """`M` to the first, `L` to the rest, to a tenth of a pixel."""
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def spaced(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Where labels go that want to be at `wanted`: in the same order, no two closer than `gap`, within low..high.

    Sweeps down, pushing each below the one before, then up from the bottom where the last ones fell out.
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    places = list(wanted)
    floor = low
    for i in order:
        places[i] = max(places[i], floor)
        floor = places[i] + gap
    ceiling = high
    for i in reversed(order):
        places[i] = min(places[i], ceiling)
        ceiling = places[i] - gap
    return places


def frame(values: Sequence[float], log: bool, pad: float = 0.04) -> tuple[float, float]:
    """The least and the largest with some air, never the same."""
    low, high = min(values), max(values)
    if log:
        air = (high / low) ** pad
        return (low / air, high * air) if high > low else (low / 2, high * 2)
    air = (high - low) * pad or abs(high) * 0.05 or 1.0
    return low - air, high + air


def draw(drawing: Drawing, size: Size, name: str) -> str:
    """The chart as an SVG element; `name` makes its ids unique in the page."""
    labelled = [line for line in drawing.lines if line.label]
    tags = {line.arm: line.label for line in labelled} or drawing.names
    room = min(size.label, max((text_width(tag) for tag in tags.values()), default=0) + 22)
    height = max(size.height, 15 * len(tags) + 80)
    xs = [x for line in drawing.lines for x, _ in line.points] + [r.x for r in drawing.ranges]
    ys = [y for line in drawing.lines for _, y in line.points]
    ys += [v for r in drawing.ranges for v in (r.low, r.mean, r.high) if v is not None]
    left, right, top, bottom = 52.0, size.width - room - 4, 26.0, height - 42.0
    x_low, x_high = frame(xs, drawing.x.log, 0.0 if not drawing.ranges else 0.06)
    x = Scale(x_low, x_high, left, right, drawing.x.log)
    y = Scale(*frame(ys, drawing.y.log), bottom, top, drawing.y.log)
    parts = [
        *_axes(drawing, x, y, size.name == "narrow"),
        *_lines(drawing.lines, x, y),
        *_ranges(drawing.ranges, x, y),
        *_end_labels(drawing, tags, x, y, room),
    ]
    return (
        f'<svg class="{size.name}" viewBox="0 0 {size.width} {height}" role="img" '
        f'aria-labelledby="{name}-{size.name}-t {name}-{size.name}-d">'
        f'<title id="{name}-{size.name}-t">{escape(drawing.title)}</title>'
        f'<desc id="{name}-{size.name}-d">{escape(drawing.description)}</desc>{"".join(parts)}</svg>'
    )


def _axes(drawing: Drawing, x: Scale, y: Scale, narrow: bool) -> list[str]:
    parts = [text("axis", 0, 12, drawing.y.label)]
    y_ticks = y.ticks(7)
    for tick, said in zip(y_ticks, tick_texts(y_ticks), strict=True):
        at = y(tick)
        parts.append(f'<path class="grid" d="M{x.start:.1f} {at:.1f}H{x.end:.1f}"/>')
        parts.append(text("tick", x.start - 7, at + 4, said, "end"))
    parts += [
        f'<path class="mark" d="M{x(mark):.1f} {y.end:.1f}V{y.start:.1f}"/>'
        for mark in drawing.marks
        if x.low <= mark <= x.high
    ]
    x_ticks = [tick for tick in x.ticks(3 if narrow else 5) if not drawing.x.whole or tick.is_integer()]
    for tick, said in zip(x_ticks, tick_texts(x_ticks), strict=True):
        at = x(tick)
        parts.append(f'<path class="tickline" d="M{at:.1f} {y.start:.1f}v5"/>')
        parts.append(text("tick", at, y.start + 19, said, "middle"))
    parts.append(f'<path class="base" d="M{x.start:.1f} {y.start:.1f}H{x.end:.1f}"/>')
    middle = (x.start + x.end) / 2
    parts.append(text("axis", middle, y.start + 37, drawing.x.label, "middle"))
    return parts


def _lines(lines: Sequence[Line], x: Scale, y: Scale) -> list[str]:
    """Thin ones first, so that the thick ones lie over them; markers here and there along the thick ones."""
    parts = []
    for line in sorted(lines, key=lambda line: bool(line.label)):
        points = [(x(at), y(value)) for at, value in line.points]
        if not points:
            continue
        kind = "line" if line.label else "thin"
        dashes = f' stroke-dasharray="{dash(line.arm)}"' if line.label and dash(line.arm) else ""
        own = "".join(marker(line.arm, *points[i]) for i in _places(len(points), line.arm)) if line.label else ""
        parts.append(group(line.arm, f'<path class="{kind}"{dashes} d="{path(points)}"/>', own))
    return parts


def _places(num: int, arm: int, markers: int = 5) -> list[int]:
    """Where along a line its markers stand; those of different arms are set off against each other."""
    if num <= 2 * markers:
        return list(range(num))
    shift = (arm % 4) / 4 + 0.25
    return [int((i + shift) * num / markers) % num for i in range(markers)]


def _ranges(ranges: Sequence[Range], x: Scale, y: Scale) -> list[str]:
    """Intervals at the same x stand side by side."""
    arms = sorted({r.arm for r in ranges})
    columns = max(1, len({r.x for r in ranges}))
    step = min(9.0, (x.end - x.start) / columns / (len(arms) + 1)) if arms else 0.0
    parts = []
    for r in ranges:
        at = x(r.x) + (arms.index(r.arm) - (len(arms) - 1) / 2) * step
        stem = ""
        if r.low is not None and r.high is not None:
            low, high = y(r.low), y(r.high)
            ends = f"M{at - 3:.1f} {low:.1f}h6M{at - 3:.1f} {high:.1f}h6"
            stem = f'<path class="stem" d="M{at:.1f} {low:.1f}V{high:.1f}{ends}"/>'
        parts.append(group(r.arm, stem, marker(r.arm, at, y(r.mean))))
    return parts


def _end_labels(drawing: Drawing, tags: dict[int, str], x: Scale, y: Scale, room: float) -> list[str]:
    """Each arm's name with its marker, where its line ends, moved apart where they would overlap."""
    ends: dict[int, float] = {}
    for r in sorted(drawing.ranges, key=lambda r: r.x):
        ends[r.arm] = y(r.mean)
    for line in drawing.lines:
        if line.label and line.points:
            ends[line.arm] = y(line.points[-1][1])
    arms = [arm for arm in tags if arm in ends]
    places = spaced([ends[arm] for arm in arms], 15, y.end + 2, y.start - 2)
    parts = []
    for arm, at in zip(arms, places, strict=True):
        tie = f'<path class="tie" d="M{x.end + 1:.1f} {ends[arm]:.1f}L{x.end + 8:.1f} {at:.1f}"/>'
        label = text("tag", x.end + 21, at + 4, shortened(tags[arm], room - 22))
        parts.append(group(arm, tie, marker(arm, x.end + 13, at, 3.5), label))
    return parts


def key(arm: int) -> str:
    """The sample of a legend: a piece of the arm's line with its marker."""
    dashes = f' stroke-dasharray="{dash(arm)}"' if dash(arm) else ""
    return (
        f'<svg class="key {colour(arm)}" viewBox="0 0 34 14" width="34" height="14" aria-hidden="true">'
        f'<path class="line"{dashes} d="M1 7H33"/>{marker(arm, 17, 7)}</svg>'
    )


@dataclass(frozen=True)
class Row:
    """An arm in a panel of intervals."""

    label: str
    value: str
    """What is written at the row's right end."""
    interval: tuple[float, float | None, float | None]
    seeds: Sequence[float]
    arm: int


def draw_panel(title: str, rows: Sequence[Row], zero: bool, hint: str, name: str) -> str:
    """Intervals under one another, the arms' names and figures written over each."""
    width, pitch, top = 340, 40, 8
    bottom = top + pitch * len(rows)
    values = [v for row in rows for v in (*row.interval, *row.seeds) if v is not None] + ([0.0] if zero else [])
    x = Scale(*frame(values, False, 0.08), 8, width - 8)
    parts = []

    def band(at: float) -> str:
        """Verticals stand beside the intervals only, not across what is written over them."""
        return "".join(f"M{at:.1f} {top + pitch * i + 18}v18" for i in range(len(rows)))

    ticks = x.ticks(4)
    for tick, said in zip(ticks, tick_texts(ticks), strict=True):
        at = x(tick)
        parts.append(f'<path class="grid" d="{band(at)}"/>')
        parts.append(text("tick", at, bottom + 15, said, "middle"))
    if zero:
        parts.append(f'<path class="zero" d="{band(x(0))}"/>')
    for i, row in enumerate(rows):
        parts.append(_panel_row(row, x, top + i * pitch, width))
    parts.append(text("axis", width / 2, bottom + 33, hint, "middle"))
    spoken = "; ".join(f"{row.label}: {row.value}" for row in rows)
    return (
        f'<svg class="panel" viewBox="0 0 {width} {bottom + 38}" role="img" aria-labelledby="{name}-t {name}-d">'
        f'<title id="{name}-t">{escape(title)}</title><desc id="{name}-d">{escape(spoken)}</desc>{"".join(parts)}</svg>'
    )


def _panel_row(row: Row, x: Scale, top: float, width: int) -> str:
    mean, low, high = row.interval
    at = top + 27
    label = shortened(row.label, width - 24 - text_width(row.value))
    seeds = "".join(f'<path class="seed" d="M{x(value):.1f} {at - 5:.1f}v10"/>' for value in row.seeds)
    stem = ""
    if low is not None and high is not None:
        ends = f"M{x(low):.1f} {at - 4}v8M{x(high):.1f} {at - 4}v8"
        stem = f'<path class="stem" d="M{x(low):.1f} {at}H{x(high):.1f}{ends}"/>'
    said = text("tag", 8, top + 14, label) + text("said", width - 8, top + 14, row.value, "end")
    return group(row.arm, said, seeds, stem, marker(row.arm, x(mean), at, 4.5))
