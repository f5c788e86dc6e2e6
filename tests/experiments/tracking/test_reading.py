"""What a run's folder tells."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from curricle.experiments.tracking.reading import figures, files, numbers, parameters, readable, results, title
from experiments.tracking.folders import make_run, write_log


def test_numbers_inside_lists_and_mappings_have_names_of_their_own() -> None:
    row = {
        "step": 3,
        "loss": 2.5,
        "clipped": True,
        "layer": [0.5, 1],
        "domain": {"a/b": 1.0},
        "what": "eval",
        "x": None,
    }
    found = dict(numbers(row, "eval/"))
    assert found == {
        "eval/step": 3.0,
        "eval/loss": 2.5,
        "eval/clipped": 1.0,
        "eval/layer/0": 0.5,
        "eval/layer/1": 1.0,
        "eval/domain/a/b": 1.0,
    }


@pytest.mark.parametrize(
    ("name", "told"), [("loss (dev)", "loss _dev_"), ("요약", "__"), ("rouge.sum/a-b", "rouge.sum/a-b")]
)
def test_names_that_every_tracker_takes(name: str, told: str) -> None:
    assert readable(name) == told


def test_only_new_steps_and_only_whole_lines(tmp_path: Path) -> None:
    run = make_run(tmp_path, steps=4)
    with (run / "metrics.jsonl").open("a") as log:
        log.write('{"step": 5, "loss": 0.')
    assert [each.step for each in figures(run, "metrics", after=2) if each.name == "loss"] == [3, 4]
    assert figures(run, "nothing", after=0) == []


def test_a_step_was_written_when_the_next_had_not_begun(tmp_path: Path) -> None:
    run = make_run(tmp_path, steps=3, seconds=10.0)
    os.utime(run / "metrics.jsonl", (1000.0, 1000.0))
    found = [each.time_ms for each in figures(run, "metrics", after=0) if each.name == "loss"]
    assert found == [980_000, 990_000, 1_000_000]


def test_parameters_are_the_resolved_recipe_by_dotted_keys(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    held = parameters(run)
    assert held["training.learning_rate"] == "0.001"
    assert held["data.train"] == "rows.jsonl"
    assert held["evaluation"] == "[]"
    assert (held["arm"], held["seed"], held["recipe_hash"]) == ("base", "3", "abc")


def test_results_are_there_when_the_run_is_finished(tmp_path: Path) -> None:
    run = make_run(tmp_path, finished=False)
    assert results(run) == {}
    assert [path.name for path in files(run)] == ["arm.json", "recipe.yaml"]
    run = make_run(tmp_path)
    assert results(run) == {"result/loss": 1.5, "result/rouge.sum": 70.0, "result/steps": 4.0}
    assert [path.name for path in files(run)] == ["arm.json", "results.json", "recipe.yaml"]
    assert title(run) == "told/base/seed-3"


def test_a_log_that_is_not_there_yet_tells_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (run / "metrics.jsonl").unlink()
    assert figures(run, "metrics", after=0) == []
    write_log(run, "metrics", 1)
    assert {each.step for each in figures(run, "metrics", after=0)} == {1}
