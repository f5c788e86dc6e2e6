"""Logs thinned to what a chart shows: nothing made up, no spike lost."""

from __future__ import annotations

import numpy as np
import pytest

from curricle.experiments.report.histories import MAX_POINTS, History, mean_line, smoothed, thinned, window_of


def test_smoothing_is_the_mean_of_the_window_and_shorter_at_the_ends() -> None:
    values = np.array([1.0, 2.0, 6.0, 8.0, 3.0])
    assert smoothed(values, 3).tolist() == [1.5, 3.0, 16 / 3, 17 / 3, 5.5]
    assert smoothed(values, 1).tolist() == values.tolist()
    rng = np.random.default_rng(0)
    noise, window = rng.normal(size=200), 7
    slow = [noise[max(0, i - 3) : i + 4].mean() for i in range(200)]
    assert np.allclose(smoothed(noise, window), slow)
    assert all(window_of(num) % 2 == 1 for num in range(500))


def test_a_short_run_is_drawn_point_by_point() -> None:
    assert thinned(np.array([1.0, 2.0, 3.0]), np.array([5.0, np.nan, 4.0])) == [(1.0, 5.0), (3.0, 4.0)]
    assert thinned(np.array([]), np.array([])) == []


@pytest.mark.parametrize("num", [MAX_POINTS, MAX_POINTS + 1, 5000])
def test_thinning_keeps_ends_and_spikes(num: int) -> None:
    x, y = np.arange(num, dtype=float), np.sin(np.arange(num))
    y[num // 3] = 50.0
    plain, peaks = thinned(x, y), thinned(x, y, np.max)
    assert len(plain) <= MAX_POINTS
    assert len(peaks) <= MAX_POINTS
    assert plain[0] == (x[0], y[0])
    assert plain[-1] == (x[-1], y[-1])
    assert max(value for _, value in peaks) == 50.0
    assert peaks[-1][0] == x[-1]


def test_the_mean_line_is_where_all_seeds_were() -> None:
    first, second = [(0.0, 1.0), (10.0, 3.0)], [(5.0, 4.0), (20.0, 1.0)]
    line = mean_line([first, second])
    assert line == [(5.0, 3.0), (10.0, 3.0)]
    assert mean_line([first]) == first
    assert mean_line([]) == []
    assert mean_line([[(0.0, 1.0), (1.0, 1.0)], [(2.0, 1.0), (3.0, 1.0)]]) == []  # they never met


def test_figures_measured_during_training() -> None:
    rows = [
        {"step": 1, "what": "eval", "tokens_trained": 9, "loss": 2.0, "perplexity": 7.0, "tokens": 5.0, "chrf": 20.5}
    ]
    history = History("a", 0, *(np.array([]) for _ in range(3)), rows)
    assert history.figures() == ["chrf"]
