"""Four ways to make a function of a few numbers small with few evaluations: one number at a time, a simplex, a grid,
and (in `bayes`) a Gaussian process.

Each is a function of the points known so far and of `ask`, which evaluates one more, keeps the value in `known`, and
raises `Spent` when the budget is used up. They draw nothing at random but by their seed, and move on strict improvement
only, so that the same values always lead to the same points: that is what a search resumes by.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Point = npt.NDArray[np.float64]
Known = list[tuple[Point, float]]
Ask = Callable[[Point], float]

TOLERANCE = 2e-3
"""Steps smaller than this, as a part of the space's width, are not worth an evaluation."""


@dataclass(frozen=True)
class Space:
    """Where points lie: every number between two bounds; or, with `sum1`, points that are taken over their sum."""

    low: float
    high: float
    sum1: bool = False

    @property
    def width(self) -> float:
        return self.high - self.low

    @property
    def least_step(self) -> float:
        return TOLERANCE * self.width

    def clip(self, points: Point) -> Point:
        return np.clip(points, self.low, self.high)

    def settle(self, points: Point) -> Point:
        """Points (along the last axis) as they are evaluated. Of a sum of 0 nothing can be made: it becomes NaN."""
        points = self.clip(points)
        if not self.sum1:
            return points
        total = points.sum(-1, keepdims=True)
        return np.divide(points, total, out=np.full_like(points, np.nan), where=total > 1e-9)


class Spent(Exception):
    """The budget is used up: how a method is told to stop."""


def best_of(known: Known) -> tuple[Point, float]:
    """The point with the smallest value; of equal ones the first."""
    return min(known, key=lambda pair: pair[1])


def coordinate(known: Known, ask: Ask, space: Space, budget: int, seed: int = 0) -> None:
    """One number at a time: a step to both sides, then the lowest point of the parabola through the three. When a whole
    round brought nothing, steps become a quarter as long."""
    point, value = best_of(known)
    step = space.width / 4
    while step > space.least_step:
        before = value
        for i in range(len(point)):
            point, value = _along(point, value, i, step, ask, space)
        if not value < before:
            step /= 4


def _along(point: Point, value: float, i: int, step: float, ask: Ask, space: Space) -> tuple[Point, float]:
    """The best of a step to each side and of the parabola's lowest point; at a border both steps lead inside."""
    at = float(point[i])
    line, best = [(at, value)], (point, value)

    def try_at(place: float) -> None:
        nonlocal best
        moved = point.copy()
        moved[i] = min(max(place, space.low), space.high)
        if any(abs(moved[i] - known) < space.least_step for known, _ in line):
            return
        found = ask(moved)
        line.append((float(moved[i]), found))
        if found < best[1]:
            best = (moved, found)

    for place in _both_sides(at, step, space):
        try_at(place)
    if len(line) == 3 and (lowest := _lowest(line)) is not None:
        try_at(min(max(lowest, at - 3 * step), at + 3 * step))
    return best


def _both_sides(at: float, step: float, space: Space) -> tuple[float, float]:
    if at + step > space.high:
        return at - step, at - 2 * step
    if at - step < space.low:
        return at + step, at + 2 * step
    return at + step, at - step


def _lowest(line: list[tuple[float, float]]) -> float | None:
    """Where the parabola through three points is lowest; None where it has no lowest point."""
    (a, fa), (b, fb), (c, fc) = line
    bend = ((fc - fa) / (c - a) - (fb - fa) / (b - a)) / (c - b)
    if not (math.isfinite(bend) and bend > 1e-12):
        return None
    slope = (fb - fa) / (b - a) - bend * (b - a)
    return a - slope / (2 * bend)


def nelder_mead(known: Known, ask: Ask, space: Space, budget: int, seed: int = 0) -> None:
    """A simplex around the best point so far walks downhill (scipy's, with bounds). At a border it may fall flat, so it
    is set up anew where it ended, and with steps a quarter as long when that brought nothing."""
    from scipy.optimize import minimize

    step, before = space.width / 4, math.inf
    while step > space.least_step:
        start, value = best_of(known)
        step = step if value < before else step / 4
        before = value
        steps = np.where(start + step <= space.high, step, -step)
        options: dict[str, Any] = {
            "initial_simplex": np.concatenate([start[None], start + np.diag(steps)]),
            "xatol": max(space.least_step, step / 8),
            "fatol": math.inf,  # how far apart the values are says nothing of how far there is to go
            "maxfev": 20 * budget,  # points that are asked again cost nothing, and end here at the latest
        }
        minimize(ask, start, method="Nelder-Mead", bounds=[(space.low, space.high)] * len(start), options=options)


def grid(known: Known, ask: Ask, space: Space, budget: int, seed: int = 0) -> None:
    """All points of the finest grid that the budget has room for; with sum1, of the mixtures in equal steps."""
    num, left = len(known[0][0]), budget - len(known)
    for point in _mixtures(num, left) if space.sum1 else _lattice(num, left, space):
        ask(point)


def grid_needs(num: int, sum1: bool) -> int:
    """Evaluations that the coarsest grid takes."""
    return num + math.comb(num, 2) if sum1 else 2**num


def _lattice(num: int, left: int, space: Space) -> Iterator[Point]:
    lines = max(2, math.floor(max(left, 1) ** (1 / num) + 1e-9))
    yield from map(np.array, itertools.product(np.linspace(space.low, space.high, lines), repeat=num))


def _mixtures(num: int, left: int) -> Iterator[Point]:
    """All ways to share a number of equal steps out: bars between steps, as `**|*|` is (2, 1, 0)."""
    steps = 2
    while num > 1 and math.comb(steps + num, num - 1) <= left:
        steps += 1
    for bars in itertools.combinations(range(steps + num - 1), num - 1):
        edges = np.array([-1, *bars, steps + num - 1])
        yield (np.diff(edges) - 1) / steps
