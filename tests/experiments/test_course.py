"""What `inspect order RUN` reads out of a run's logs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from curricle.errors import RunError
from curricle.experiments.course import courses, sparkline
from curricle.runtime.logs import JsonLog


def write(folder: Path, steps: list[dict[str, Any]], rows: list[list[list[int]]]) -> None:
    metrics, consumed = JsonLog(folder / "metrics.jsonl"), JsonLog(folder / "consumed.jsonl")
    for number, (step, taken) in enumerate(zip(steps, rows, strict=True), start=1):
        metrics.append({"step": number, "step_tokens": 10, "tokens": 10 * number, "loss": 1.0, **step})
        consumed.append({"step": number, "rows": taken})
    metrics.close()
    consumed.close()


def test_parts_hold_means_and_counts_over_tokens(tmp_path: Path) -> None:
    steps = [
        {"admitted_share": 0.5, "step_difficulty": 0.1, "open_layers": [0]},
        {"admitted_share": 0.5, "step_difficulty": 0.3, "open_layers": [0]},
        {"admitted_share": 1.0, "step_difficulty": 0.4, "open_layers": [0, 1]},
        {"admitted_share": 1.0, "step_difficulty": 0.6, "open_layers": [0, 1]},
    ]
    write(tmp_path, steps, [[[0, 1], [2]], [[3]], [[0], [4]], [[1], [2]]])
    (course,) = courses(tmp_path, num_parts=2)
    assert course.parts == [
        {
            "tokens": 20,
            "step": 2,
            "admitted": 0.5,
            "difficulty": 0.2,
            "examples": 4,
            "repeats": 0,
            "loss": 1.0,
            "layers": 1,
        },
        {
            "tokens": 40,
            "step": 4,
            "admitted": 1.0,
            "difficulty": 0.5,
            "examples": 4,
            "repeats": 0.75,
            "loss": 1.0,
            "layers": 2,
        },
    ]
    assert "admitted    ▁█  0.5 to 1" in str(course)


def test_a_run_without_a_curriculum_admits_all_and_shares_are_columns(tmp_path: Path) -> None:
    write(tmp_path / "plain/seed-0", [{}] * 3, [[[0]], [[1]], [[2]]])
    write(tmp_path / "mix/seed-0", [{"step_share_low": 0.25, "step_share_high": 0.75}] * 3, [[[0]], [[1]], [[2]]])
    mix, plain = courses(tmp_path)
    assert (mix.name, plain.name) == ("mix/seed-0", "plain/seed-0")
    assert [part["admitted"] for part in plain.parts] == [1.0, 1.0, 1.0]
    assert (mix.parts[0]["low"], mix.parts[0]["high"]) == (0.25, 0.75)
    assert [course.name for course in courses(tmp_path, arm="mix")] == ["mix/seed-0"]


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no run that has begun"):
        courses(tmp_path)
    write(tmp_path, [{}], [[[0]]])
    (tmp_path / "consumed.jsonl").unlink()
    with pytest.raises(RunError, match="do not have the same steps"):
        courses(tmp_path)


def test_a_line_of_blocks_goes_from_least_to_largest() -> None:
    assert sparkline([1.0, 2.0, 8.0]) == "▁▂█"
    assert sparkline([3.0, 3.0]) == ""
