"""What the runs of an experiment logged, thinned out to what a chart can show."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.logs import JsonLog
from ..comparison.shape import Comparison

Points = list[tuple[float, float]]

MAX_POINTS = 200
"""Of a line; a chart is not much wider in pixels."""
NOT_FIGURES = ("step", "what", "tokens_trained", "tokens", "domain_loss", "seconds")


@dataclass(frozen=True)
class History:
    """One run's logs."""

    arm: str
    seed: int
    tokens: np.ndarray
    loss: np.ndarray
    grad_norm: np.ndarray
    heldout: list[dict[str, Any]]
    """The evaluations during training, in order."""

    def figures(self) -> list[str]:
        """What was measured during training, beside the loss."""
        names = dict.fromkeys(name for row in self.heldout for name, value in row.items() if isinstance(value, float))
        return [name for name in names if name not in (*NOT_FIGURES, "loss", "perplexity")]


def histories(comparison: Comparison, folder: Path) -> list[History]:
    """Of every run of the comparison, in its order."""
    return [_read(run["arm"], run["seed"], folder / run["folder"]) for run in comparison.runs]


def _read(arm: str, seed: int, folder: Path) -> History:
    rows = JsonLog(folder / "metrics.jsonl").rows()
    heldout = [row for row in JsonLog(folder / "heldout.jsonl").rows() if row.get("what", "eval") == "eval"]
    tokens, loss, grad_norm = (
        np.array([_float(row.get(name)) for row in rows]) for name in ("tokens", "loss", "grad_norm")
    )
    return History(arm, seed, tokens, loss, grad_norm, heldout)


def _float(value: Any) -> float:
    """JSON has no infinity and writes null; neither can be drawn."""
    return float("nan") if value is None else float(value)


def window_of(num: int) -> int:
    """Steps that a smoothed training loss is the mean of: a fortieth of the run, odd."""
    return 2 * (num // 80) + 1


def smoothed(values: np.ndarray, window: int) -> np.ndarray:
    """The mean over a window around each step, which is shorter at the ends.

    window 3:   steps 0 1 2 3 4   ->   mean of 01, 012, 123, 234, 34
    """
    half, num = window // 2, len(values)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(num)
    start, end = np.maximum(at - half, 0), np.minimum(at + half + 1, num)
    return np.asarray((sums[end] - sums[start]) / (end - start))


def thinned(
    x: np.ndarray, y: np.ndarray, pick: Callable[[np.ndarray], Any] | None = None, most: int = MAX_POINTS
) -> Points:
    """So many points at most: evenly taken ones, or `pick` of each stretch at the stretch's end."""
    x, y = x[np.isfinite(y)], y[np.isfinite(y)]
    if len(x) <= most:
        return list(zip(x.tolist(), y.tolist(), strict=True))
    edges = np.linspace(0, len(x), most + 1).round().astype(int)
    if pick is None:
        at = np.unique(np.linspace(0, len(x) - 1, most).round().astype(int))
        return list(zip(x[at].tolist(), y[at].tolist(), strict=True))
    return [(float(x[b - 1]), float(pick(y[a:b]))) for a, b in pairwise(edges.tolist())]


def mean_line(lines: Iterable[Points]) -> Points:
    """The mean over seeds, where all of them were: each by straight lines between its points."""
    curves = [np.array(line) for line in lines if line]
    if len(curves) < 2:
        return [tuple(point) for curve in curves for point in curve.tolist()]
    low, high = max(curve[0, 0] for curve in curves), min(curve[-1, 0] for curve in curves)
    grid = np.unique(np.concatenate([curve[:, 0] for curve in curves]))
    grid = grid[(grid >= low) & (grid <= high)]
    if len(grid) > MAX_POINTS:
        grid = grid[np.unique(np.linspace(0, len(grid) - 1, MAX_POINTS).round().astype(int))]
    mean = np.mean([np.interp(grid, curve[:, 0], curve[:, 1]) for curve in curves], axis=0)
    return list(zip(grid.tolist(), mean.tolist(), strict=True))
