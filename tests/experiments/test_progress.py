"""How far an experiment is, read from folders in every state a run can be in, whole and half written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from curricle.errors import RunError
from curricle.experiments.progress import duration, last_rows, look
from curricle.runtime.rundir import hold
from experiments.run_folders import begin, experiment, finish


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return experiment(tmp_path)


def states(folder: Path) -> dict[str, str]:
    return {run.name: run.state for run in look(folder).runs}


def test_every_state(folder: Path) -> None:
    finish(begin(folder / "base/seed-0", steps=100, age=500))
    begin(folder / "base/seed-1", steps=40, age=400)  # cut off in an earlier try; its turn comes again
    begin(folder / "long/seed-0", steps=3, planned=200)
    assert states(folder) == {
        "base/seed-0": "finished",
        "base/seed-1": "waiting",
        "long/seed-0": "training",
        "long/seed-1": "waiting",
        "untouched/seed-0": "waiting",
        "untouched/seed-1": "waiting",
    }


def test_from_the_first_file_to_the_last(folder: Path) -> None:
    run = begin(folder / "base/seed-0")
    assert states(folder)["base/seed-0"] == "starting"
    shutil.rmtree(run)
    begin(run, steps=2)
    assert states(folder)["base/seed-0"] == "training"
    (run / "model").mkdir()
    assert states(folder)["base/seed-0"] == "measuring"
    finish(run, metrics={})
    assert states(folder)["base/seed-0"] == "finished"
    begin(folder / "untouched/seed-0")  # nothing is trained
    assert states(folder)["untouched/seed-0"] == "measuring"


def test_a_run_that_was_trained_but_not_measured_is_not_finished(folder: Path) -> None:
    run = begin(folder / "base/seed-0", steps=100)
    (run / "results.json").write_text('{"steps": 100, "seconds": 200.0}')
    assert states(folder)["base/seed-0"] == "measuring"


def test_figures_of_a_run_at_work(folder: Path) -> None:
    run = begin(folder / "base/seed-0", steps=40, seconds=2.0)
    (run / "heldout.jsonl").write_text('{"step": 20, "loss": 3.5}\n{"step": 40, "loss": 3.25}\n{"step": 60, "lo')
    shown = look(folder).runs[0]
    assert (shown.step, shown.planned, shown.loss, shown.held_out) == (40, 100, 9 - 0.39, 3.25)
    assert (shown.tokens_per_second, shown.seconds_left) == (1500.0, 120.0)


def test_time_left_of_runs_to_come(folder: Path) -> None:
    finish(begin(folder / "base/seed-0", steps=100, age=500))  # 2 s a step, 30 s to measure
    begin(folder / "base/seed-1", steps=40, seconds=3.0)
    runs = {run.name: run for run in look(folder).runs}
    assert runs["base/seed-1"].seconds_left == 60 * 3.0 + 30
    # An arm that has not begun: its recipe's steps, at the mean pace of the arms that have.
    assert runs["long/seed-0"].seconds_left == 200 * 2.5 + 30
    assert runs["untouched/seed-0"].seconds_left == 30
    assert look(folder).seconds_left == 210 + 2 * 530 + 2 * 30


def test_no_time_is_made_up(folder: Path) -> None:
    assert look(folder).seconds_left is None
    begin(folder / "base/seed-0", steps=5)
    runs = {run.name: run for run in look(folder).runs}
    assert runs["base/seed-1"].seconds_left is None  # nobody knows its number of steps yet
    assert runs["long/seed-0"].seconds_left == 400
    assert look(folder).seconds_left is None


def test_who_works_on_it(folder: Path) -> None:
    begin(folder / "base/seed-0", steps=40, seconds=2.0, age=1000)
    assert not look(folder).at_work
    assert states(folder)["base/seed-0"] == "stopped"
    assert states(folder)["base/seed-1"] == "waiting"
    assert "no process works on the rest" in look(folder).summary()
    with hold(folder):
        assert look(folder).at_work
        assert states(folder)["base/seed-0"] == "training"


def test_a_slow_step_is_no_silence(folder: Path) -> None:
    begin(folder / "base/seed-0", steps=4, seconds=100.0, age=1000)
    assert states(folder)["base/seed-0"] == "training"


def test_a_lock_that_cannot_be_read_is_nobodys(folder: Path) -> None:
    for text in ("", "abc", "99999999999999999999"):
        (folder / ".lock").write_text(text)
        assert not look(folder).at_work


def test_nothing_is_touched(folder: Path) -> None:
    finish(begin(folder / "base/seed-0", steps=100))
    begin(folder / "base/seed-1", steps=10)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    print(look(folder))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_seed_beyond_the_recipe_and_other_folders(folder: Path) -> None:
    finish(begin(folder / "long/seed-7", steps=10))
    begin(folder / "gone/seed-0", steps=10)  # an arm the recipe no longer has
    (folder / "base/seed-x").mkdir(parents=True)
    assert states(folder)["long/seed-7"] == "finished"
    assert not any("gone" in name or "seed-x" in name for name in states(folder))


def test_a_part_of_an_experiment(folder: Path) -> None:
    finish(begin(folder / "base/seed-0", steps=100))
    assert list(states(folder / "base")) == ["base/seed-0", "base/seed-1"]
    one = look(folder / "base/seed-0")
    assert [run.name for run in one.runs] == ["base/seed-0"]
    assert one.finished
    with pytest.raises(RunError, match=r"other is no run of .*; its recipe has the arms base, long, untouched"):
        look(folder / "other")


def test_a_folder_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no folder of an experiment: there is no recipe"):
        look(tmp_path / "runs" / "none")


def test_the_table(folder: Path) -> None:
    finish(begin(folder / "base/seed-0", steps=100))
    begin(folder / "base/seed-1", steps=40)
    lines = str(look(folder)).splitlines()
    assert lines[0].split() == ["run", "state", "step", "loss", "held-out", "tokens/s", "left"]
    assert lines[1].split() == ["base/seed-0", "finished", "100/100", "1.5", "2.25", "-"]
    assert lines[2].split() == ["base/seed-1", "training", "40/100", "8.61", "-", "1,500", "2", "min"]
    assert lines[-1].startswith(f"{folder}: 1 of 6 runs finished, about ")


# --- logs that somebody is writing


def test_last_lines_of_a_long_log(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps({"step": k, "more": "x" * 300}) + "\n" for k in range(5000)))
    assert [row["step"] for row in last_rows(log, most=3)] == [4997, 4998, 4999]
    assert [row["step"] for row in last_rows(log, most=1, tail=10)] == [4999]  # one line is longer than the tail


@pytest.mark.parametrize("tail", [1, 7, 30, 1000])
def test_any_cut_of_a_log_reads_as_its_whole_lines(tmp_path: Path, tail: int) -> None:
    whole = "".join(json.dumps({"step": k, "text": "가"}, ensure_ascii=False) + "\n" for k in range(4)).encode()
    log = tmp_path / "log.jsonl"
    for size in range(len(whole) + 1):
        log.write_bytes(whole[:size])
        lines = whole[:size].count(b"\n")
        assert [row["step"] for row in last_rows(log, most=1, tail=tail)] == [*range(lines)][-1:]


def test_a_log_that_is_not_there(tmp_path: Path) -> None:
    assert last_rows(tmp_path / "none.jsonl") == []


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, "-"), (0, "0 s"), (45.4, "45 s"), (700, "12 min"), (12000, "3 h 20 min"), (187200, "2 d 4 h")],
)
def test_a_duration(seconds: float | None, said: str) -> None:
    assert duration(seconds) == said
