"""The table as it is shown: once, line by line, and drawn in a terminal, until the experiment has ended."""

from __future__ import annotations

import io
import json
import sys
import threading
import time
from pathlib import Path

import pytest

from curricle.errors import RunError
from curricle.experiments.watch import watch
from experiments.run_folders import begin, experiment, finish


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return experiment(tmp_path)


def test_once_prints_what_is_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begin(folder / "base/seed-0", steps=4, age=1000)
    assert not watch(folder, once=True).finished
    shown = capsys.readouterr().out
    assert "base/seed-0       stopped  4/100" in shown
    assert "0 of 6 runs finished, and no process works on the rest" in shown


def test_it_ends_with_the_last_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = begin(folder / "base/seed-0", steps=4)

    def work() -> None:
        time.sleep(0.05)
        with (run / "metrics.jsonl").open("a") as log:
            log.write(json.dumps({"step": 5, "planned_steps": 100, "loss": 2.5, "seconds": 1, "tokens_per_second": 9}))
            log.write("\n")
        time.sleep(0.05)
        finish(run)

    worker = threading.Thread(target=work)
    worker.start()
    assert watch(run, every=0.01).finished
    worker.join()
    lines = [line.split("  ", 1)[-1] for line in capsys.readouterr().out.splitlines()]
    assert lines[0].startswith("base/seed-0: training 4/100, loss 8.97")
    assert lines[-2] == "base/seed-0: finished 100/100, loss 1.5, held-out 2.25"
    assert lines[-1].endswith("1 of 1 runs finished")
    assert len(lines) == len(set(lines))  # a run that stands still is not told again


def test_an_experiment_nobody_works_on_ends_the_watching(folder: Path) -> None:
    begin(folder / "base/seed-0", steps=4, age=1000)
    with pytest.raises(RunError, match="0 of 6 runs finished, and no process works on the rest"):
        watch(folder, every=0.01)


def test_arms_that_were_not_asked_for_are_not_waited_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finish(begin(folder / "base/seed-0", steps=4, age=1000))
    assert not watch(folder, every=0.01).finished
    assert "1 of 6 runs finished; the rest has not begun, and no process works on it" in capsys.readouterr().out


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_in_a_terminal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("base/seed-0", "base/seed-1"):
        finish(begin(folder / name, steps=100))
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    assert watch(folder / "base").finished
    assert "base/seed-1" in screen.getvalue()
    assert "2 of 2 runs finished" in screen.getvalue()
