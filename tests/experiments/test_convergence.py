"""When layers have converged: the last time their update crosses 90% of what it comes to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from curricle.experiments.convergence import converged_at, spread
from curricle.experiments.course import courses
from experiments.test_course import write


def steps(*moved: list[float] | None) -> list[dict[str, Any]]:
    """A line every 100 tokens, some of them without the sizes of the layers' updates."""
    rows: list[dict[str, Any]] = [{"tokens": 100 * number} for number in range(1, len(moved) + 1)]
    return [row | ({} if sizes is None else {"layer_moved": sizes}) for row, sizes in zip(rows, moved, strict=True)]


@pytest.mark.parametrize(
    ("sizes", "share"),
    [
        ([0.6, 0.8, 1.0, 1.0], 0.625),  # half way from 0.8 to 1.0
        ([1.0, 1.0, 1.0, 1.0], 0.225),  # 0.9 of the way from nothing to the first line
        ([0.95, 0.5, 1.0, 1.0], 0.7),  # the last time counts: it had fallen again
        ([2.0, 2.0, 2.0, 1.0], 0.1125),  # an update that shrinks was above its last size all along
        ([0.0, 0.0, 0.0, 1.0], 0.975),
        ([0.0, 0.0, 0.0, 0.0], None),
    ],
)
def test_a_layer(sizes: list[float], share: float | None) -> None:
    assert converged_at(steps(*[[size] for size in sizes])) == [share if share is None else pytest.approx(share)]


def test_lines_without_sizes_are_passed_over() -> None:
    whole, some = steps([0.2], [0.4], [0.8], [1.0]), steps([0.2], None, None, [1.0])
    assert converged_at(whole) == [pytest.approx(0.875)]
    assert converged_at(some) == [pytest.approx((100 + 0.7 / 0.8 * 300) / 400)]
    assert converged_at(steps(None, None)) == []
    assert converged_at([]) == []


def test_the_spread_is_over_the_layers_that_moved() -> None:
    assert spread([0.2, None, 0.5]) == pytest.approx(0.3)
    assert spread([0.5, 0.5]) == 0.0
    assert spread([0.5, None]) is None
    assert spread([]) is None


def test_the_course_of_a_run_says_when_its_layers_had_converged(tmp_path: Path) -> None:
    sizes = [[0.5, 0.0, 0.1], [1.0, 0.0, 0.2], [1.0, 0.0, 0.6], [1.0, 0.0, 1.0]]
    rows = [[[number]] for number in range(4)]
    for name, planned in (("whole", 4), ("running", 8)):
        write(tmp_path / name / "seed-0", [{"layer_moved": each, "planned_steps": planned} for each in sizes], rows)
    running, whole = courses(tmp_path)
    assert whole.converged == [pytest.approx(0.45), None, pytest.approx(0.9375)]
    assert str(whole).splitlines()[-1].endswith("layer 0 first: 0.45 - 0.94 ▁█  spread 0.49")
    assert running.converged == []  # what its updates will come to is not known yet
    assert "converged" not in str(running)


def test_of_a_full_training_nothing_is_claimed(tmp_path: Path) -> None:
    write(tmp_path, [{"layer_grad_norm": [1.0, 2.0], "planned_steps": 2}] * 2, [[[0]], [[1]]])
    assert courses(tmp_path)[0].converged == []
