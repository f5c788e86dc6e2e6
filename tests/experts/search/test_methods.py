"""The methods find the known lowest point of known functions, keep to the budget, and settle ties the same way."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from curricle.experts.search.bayes import bayes, expected_improvement, fit
from curricle.experts.search.methods import (
    Known,
    Point,
    Space,
    Spent,
    best_of,
    coordinate,
    grid,
    grid_needs,
    nelder_mead,
)

METHODS = {"coordinate": coordinate, "nelder-mead": nelder_mead, "bayes": bayes, "grid": grid}
WIDE = Space(0.0, 1.5)
LOWEST = np.array([0.37, 0.92])


def bowl(point: Point) -> float:
    """Lowest at LOWEST, and steeper along one direction than along the other."""
    x, y = point - LOWEST
    return float(3.0 + x * x + 4 * y * y + x * y)


def search(
    method: str, function: Callable[[Point], float], starts: list[list[float]], budget: int, space: Space = WIDE
) -> Known:
    known: Known = [(np.array(start), function(np.array(start))) for start in starts]

    def ask(point: Point) -> float:
        at = space.settle(np.round(point, 4))
        if not np.isfinite(at).all():
            return np.inf
        for seen, value in known:
            if np.abs(seen - at).max() < 1e-6:
                return value
        if len(known) == budget:
            raise Spent
        known.append((at, function(at)))
        return known[-1][1]

    try:
        METHODS[method](known, ask, space, budget, 0)
    except Spent:
        assert len(known) == budget
    return known


STARTS = [[0.0, 0.0], [0.5, 0.5], [1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize(("method", "within"), [("coordinate", 0.02), ("nelder-mead", 0.05), ("bayes", 0.02)])
def test_the_lowest_point_of_a_bowl(method: str, within: float) -> None:
    known = search(method, bowl, STARTS, 30)
    point, value = best_of(known)
    assert np.abs(point - LOWEST).max() < within, (point, len(known))
    assert value < 3.0 + 4 * within**2


@pytest.mark.parametrize("method", ["coordinate", "nelder-mead", "bayes"])
def test_a_lowest_point_beyond_the_border_is_found_at_the_border(method: str) -> None:
    known = search(method, lambda point: float(((point - np.array([2.0, 0.4])) ** 2).sum()), STARTS, 40)
    assert np.abs(best_of(known)[0] - np.array([1.5, 0.4])).max() < 0.05


def test_a_parabola_along_each_number_is_solved_at_once() -> None:
    """Two looks aside and the parabola's lowest point: three evaluations a number where they do not depend on each
    other."""
    known = search("coordinate", lambda point: float(((point - LOWEST) ** 2).sum()), [[0.5, 0.5]], 7)
    assert np.abs(best_of(known)[0] - LOWEST).max() < 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_a_tie_goes_to_the_first_and_the_search_ends(method: str) -> None:
    known = search(method, lambda point: 1.0, STARTS, 40)
    assert best_of(known)[0].tolist() == STARTS[0]
    assert len(known) <= 40


@pytest.mark.parametrize("method", METHODS)
def test_the_same_values_lead_to_the_same_points(method: str) -> None:
    runs = [search(method, bowl, STARTS, 12) for _ in range(2)]
    assert [point.tolist() for point, _ in runs[0]] == [point.tolist() for point, _ in runs[1]]


@pytest.mark.parametrize("method", METHODS)
def test_points_stay_within_the_bounds(method: str) -> None:
    for point, _ in search(method, bowl, STARTS, 16):
        assert ((point >= 0) & (point <= 1.5)).all()


@pytest.mark.parametrize("method", METHODS)
def test_mixtures_sum_to_one(method: str) -> None:
    target = np.array([0.6, 0.3, 0.1])
    starts = [[1 / 3] * 3, [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    known = search(method, lambda point: float(((point - target) ** 2).sum()), starts, 60, Space(0.0, 1.0, sum1=True))
    assert all(abs(point.sum() - 1) < 1e-9 for point, _ in known)
    assert np.abs(best_of(known)[0] - target).max() < (0.15 if method == "grid" else 0.05)


def test_values_without_end_are_no_hindrance() -> None:
    """A mixture may burst: the methods go elsewhere."""
    for method in ("coordinate", "nelder-mead", "bayes"):
        known = search(method, lambda point: np.inf if point.sum() > 1.2 else bowl(point), STARTS, 20)
        assert best_of(known)[1] < bowl(np.array([0.5, 0.5]))


@pytest.mark.parametrize(("num", "left", "lines"), [(2, 9, 3), (2, 15, 3), (2, 16, 4), (3, 8, 2), (1, 5, 5)])
def test_a_grid_is_as_fine_as_the_budget_allows(num: int, left: int, lines: int) -> None:
    asked: list[list[float]] = []
    known: Known = [(np.zeros(num), 0.0)]
    grid(known, lambda point: asked.append(point.tolist()) or 0.0, WIDE, left + 1)
    assert len(asked) == lines**num
    assert sorted({point[0] for point in asked}) == pytest.approx(np.linspace(0, 1.5, lines).tolist())
    assert grid_needs(num, sum1=False) <= max(len(asked), left)


@pytest.mark.parametrize(("num", "left", "count"), [(2, 3, 3), (2, 6, 6), (3, 6, 6), (3, 14, 10), (3, 15, 15)])
def test_a_grid_of_mixtures_shares_equal_steps_out(num: int, left: int, count: int) -> None:
    asked: list[tuple[float, ...]] = []
    known: Known = [(np.full(num, 1 / num), 0.0)]
    grid(known, lambda point: asked.append(tuple(point)) or 0.0, Space(0.0, 1.0, sum1=True), left + 1)
    assert len(set(asked)) == len(asked) == count
    assert all(sum(point) == pytest.approx(1) for point in asked)
    assert grid_needs(num, sum1=True) <= count


def test_the_process_goes_through_what_it_has_seen_and_doubts_the_rest() -> None:
    points = np.array([[0.1, 0.2], [0.9, 0.4], [0.5, 1.2], [1.4, 1.4]])
    values = np.array([bowl(point) for point in points])
    process = fit(points, values, 1.5)
    mean, deviation = process.predict(points)
    assert np.abs(mean - values).max() < 0.1 * values.std()
    _, elsewhere = process.predict(np.array([[0.1, 1.4]]))
    assert elsewhere[0] > 3 * deviation.max()


def test_expected_improvement_is_that_of_draws() -> None:
    points = np.array([[0.0], [0.6], [1.5]])
    process = fit(points, np.array([1.0, 0.2, 0.9]), 1.5)
    at = np.array([[0.3], [0.8], [1.2]])
    mean, deviation = process.predict(at)
    draws = mean + deviation * np.random.default_rng(0).standard_normal((200_000, 3))
    expected = np.maximum(0.2 - draws, 0).mean(0)
    assert expected_improvement(process, at, 0.2) == pytest.approx(expected, rel=0.05, abs=1e-4)
