"""A picture of what a search has seen, as SVG: the surface for two experts, else a slice through the best weights along
each one, and in any case how the search went.

Between the evaluations the surface is that of a Gaussian process through all of them (`bayes`): a guess, drawn with its
uncertainty in the slices; the dots are what was measured.
"""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np

from .bayes import Array, Process, fit, seen
from .evaluations import Evaluation
from .found import Found
from .methods import Space

PANEL, GAP, LEFT, TOP, BOTTOM = 260, 44, 58, 34, 44
CELLS, BANDS, STEPS = 44, 11, 60
INK, SOFT, LINE, CURVE, BEST = "#1c2127", "#5b636e", "#dfe0dc", "#0072b2", "#c8500a"
LIGHT, DARK = (247, 250, 252), (8, 69, 120)


def draw_surface(found: Found) -> str:
    """The whole picture."""
    space = Space(*found.config.box, found.config.normalize == "sum1")
    tried = [one for one in found.tried if np.isfinite(one.score) and _inside(one, space)]
    process = fit(*seen([(np.array(list(one.weights.values())), one.score) for one in tried]), space.width)
    if len(found.weights) == 2 and not space.sum1:
        panels = [_contour(found, process, tried, space)]
    else:
        panels = [_slice(found, process, i, space) for i in range(len(found.weights))]
    return _page(found, [*panels, _progress(tried)])


def _inside(one: Evaluation, space: Space) -> bool:
    at = np.array(list(one.weights.values()))
    return bool(np.allclose(space.settle(at), at, rtol=0, atol=1e-6))


def _page(found: Found, panels: list[str]) -> str:
    columns = min(3, len(panels))
    width = columns * (LEFT + PANEL + GAP)
    height = -(-len(panels) // columns) * (TOP + PANEL + BOTTOM) + 44
    placed = [
        f'<g transform="translate({i % columns * (LEFT + PANEL + GAP) + LEFT},'
        f'{i // columns * (TOP + PANEL + BOTTOM) + 44 + TOP})">{panel}</g>'
        for i, panel in enumerate(panels)
    ]
    config = found.config
    title = f"Held-out loss by the experts' weights ({config.objective}; {config.method}, normalize {config.normalize})"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" font-family="system-ui, sans-serif" font-size="12" fill="{INK}"><title>{escape(title)}</title>'
        f'<rect width="{width}" height="{height}" fill="#fff"/>{_text(LEFT, 26, title, size=14, anchor="start")}'
        f"{''.join(placed)}</svg>\n"
    )


def _contour(found: Found, process: Process, tried: list[Evaluation], space: Space) -> str:
    """Bands of equal loss over both weights, with the evaluations as dots."""
    (across, along), side = list(found.weights), PANEL / CELLS
    ticks = space.low + (np.arange(CELLS) + 0.5) / CELLS * space.width
    points = np.array([(x, y) for y in ticks for x in ticks])
    mean_q, _ = process.predict(points)
    low, high = float(mean_q.min()), float(mean_q.max())
    band_q = np.minimum(((mean_q - low) / max(high - low, 1e-12) * BANDS).astype(int), BANDS - 1)
    parts = []
    for i, band in enumerate(band_q):
        x, y = i % CELLS * side, PANEL - (i // CELLS + 1) * side
        parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{side + 0.3:.1f}" height="{side + 0.3:.1f}" '
            f'fill="{_shade(int(band))}"/>'
        )
    for one in tried:
        x, y = (_place(weight, space.low, space.high) for weight in one.weights.values())
        parts.append(_dot(x, PANEL - y, INK, f"{one.score:.4f}", "#fff"))
    x, y = (_place(weight, space.low, space.high) for weight in found.weights.values())
    parts.append(_dot(x, PANEL - y, BEST, f"best: {found.best.score:.4f}", "#fff", 6))
    head = f"dark: {low:.3f}, light: {high:.3f} and more"
    return "".join(parts) + _frame(head, across, (space.low, space.high), (space.low, space.high), along)


def _shade(band: int) -> str:
    part = band / (BANDS - 1)
    red, green, blue = (round(dark + (light - dark) * part) for dark, light in zip(DARK, LIGHT, strict=True))
    return f"#{red:02x}{green:02x}{blue:02x}"


def _slice(found: Found, process: Process, i: int, space: Space) -> str:
    """One weight alone, the others as in the best mixture; with sum1 they share what it leaves."""
    name, best = list(found.weights)[i], np.array(list(found.weights.values()))
    at_q = np.linspace(space.low, space.high, STEPS)
    points = np.array([_moved(best, i, float(at), space) for at in at_q])
    mean_q, deviation_q = process.predict(points)
    low, high = float((mean_q - deviation_q).min()), float((mean_q + deviation_q).max())
    low, high = min(low, found.best.score), max(high, found.best.score)
    x_q = _place(at_q, space.low, space.high)
    upper, lower = (PANEL - _place(mean_q + sign * deviation_q, low, high) for sign in (1, -1))
    band = _points(np.concatenate([x_q, x_q[::-1]]), np.concatenate([upper, lower[::-1]]))
    parts = [
        f'<polygon points="{band}" fill="{CURVE}" fill-opacity="0.15"/>',
        f'<polyline points="{_points(x_q, PANEL - _place(mean_q, low, high))}" fill="none" stroke="{CURVE}" '
        'stroke-width="2"/>',
        _dot(
            _place(best[i], space.low, space.high),
            PANEL - _place(found.best.score, low, high),
            BEST,
            f"best: {found.best.score:.4f} at {best[i]:.3f}",
            "#fff",
            6,
        ),
    ]
    return "".join(parts) + _frame(f"along {name}", f"weight of {name}", (space.low, space.high), (low, high))


def _moved(best: Array, i: int, at: float, space: Space) -> Array:
    moved = best.copy()
    if space.sum1:
        rest = float(best.sum() - best[i])
        others = np.full_like(best, 1 / max(len(best) - 1, 1)) if rest < 1e-9 else best / rest
        moved = others * (1 - at)
    moved[i] = at
    return moved


def _progress(tried: list[Evaluation]) -> str:
    """Every evaluation as a dot, the best so far as a line of steps; what lies far above is not drawn to scale."""
    scores = np.array([one.score for one in tried])
    so_far = np.minimum.accumulate(scores)
    low, high = float(scores.min()), float(np.quantile(scores, 0.9))
    low, high = low - 0.03 * (high - low), high + 0.05 * (high - low)
    high = high if high > low else low + 1.0
    end = 2.0 * (len(scores) // 2 + 1)
    x_p = _place(np.arange(len(scores)) + 1.0, 0.0, end)
    steps_x, steps_y = np.repeat(x_p, 2)[1:], np.repeat(so_far, 2)[:-1]
    line = _points(steps_x, PANEL - _place(np.minimum(steps_y, high), low, high))
    dots = [
        _dot(float(x), PANEL - _place(min(float(score), high), low, high), SOFT, f"{score:.4f}", "none")
        for x, score in zip(x_p, scores, strict=True)
    ]
    best = f'<polyline points="{line}" fill="none" stroke="{BEST}" stroke-width="2"/>'
    return "".join([*dots, best]) + _frame("best so far", "evaluation", (0, end), (low, high))


def _frame(title: str, across: str, x: tuple[float, float], y: tuple[float, float], along: str | None = None) -> str:
    parts = [
        f'<rect width="{PANEL}" height="{PANEL}" fill="none" stroke="{LINE}"/>',
        _text(0, -10, title, anchor="start"),
        _text(PANEL / 2, PANEL + 34, across, SOFT),
    ]
    for place in (0.0, 0.5, 1.0):
        parts.append(_text(PANEL * place, PANEL + 16, f"{x[0] + place * (x[1] - x[0]):.3g}", SOFT))
        parts.append(_text(-6, PANEL * (1 - place) + 4, f"{y[0] + place * (y[1] - y[0]):.4g}", SOFT, anchor="end"))
    if along is not None:
        parts.append(f'<g transform="translate(-40,{PANEL / 2}) rotate(-90)">{_text(0, 0, along, SOFT)}</g>')
    return "".join(parts)


def _text(x: float, y: float, words: str, colour: str = INK, size: int = 12, anchor: str = "middle") -> str:
    look = f'fill="{colour}" font-size="{size}" text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {look}>{escape(words)}</text>'


def _dot(x: float, y: float, colour: str, words: str, edge: str, size: int = 3) -> str:
    look = f'r="{size}" fill="{colour}" stroke="{edge}"'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" {look}><title>{escape(words)}</title></circle>'


def _place(value: Any, low: float, high: float) -> Any:
    return PANEL * (value - low) / max(high - low, 1e-12)


def _points(x: Array, y: Array) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
