"""Ctrl+C in the middle of a long command: one line, no traceback; the same command then goes on with what is done.

That the end is then what it would have been is shown where each command is tested, and for training in `test_signals`.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from curricle.curriculum.labels import read_labels
from difficulty.nano_pair import save_pair, write_rows
from slow.children import command_line, complete, finish, lines, start, wait_until

pytestmark = pytest.mark.slow

ROWS = 600
SCORE = ("score", "rows.jsonl", "--cloud", "cloud", "--edge", "edge", "--baselines", "loss", "-o", "l.parquet")
PREDICT = ("predict", "edge", "rows.jsonl", "--max-new-tokens", "12", "-o", "a.jsonl")
MEASURE = ("--metric", "rouge", "--set", "generation.max_new_tokens=12", "-o", "f.json")
TURNS = (("system", "Answer with a cat."), ("user", "what sings"), ("assistant", "the cat sings"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("interrupts")
    save_pair(folder)
    write_rows(folder / "rows.jsonl", ROWS)
    return folder


def interrupt(place: Path, ready: Callable[[], bool], *command: str) -> tuple[int, str]:
    """Ctrl+C when it is time; the exit code, and the last line of what was said."""
    said = place / f"{command[0]}.log"
    child = start(command_line, place, *command, said=said)
    assert wait_until(ready, child.is_alive), said.read_text()
    assert child.pid is not None
    os.kill(child.pid, signal.SIGINT)
    code = finish(child, said)
    assert "Traceback" not in said.read_text()
    return code, said.read_text().splitlines()[-1]


def go_on(place: Path, *command: str) -> str:
    said = place / f"{command[0]}-again.log"
    complete(command_line, place, *command, said=said)
    return said.read_text()


def written(place: Path, pattern: str) -> dict[str, int]:
    """The files of a pattern, and when each was written."""
    return {path.name: path.stat().st_mtime_ns for path in place.glob(pattern)}


def test_score(place: Path) -> None:
    parts = ".l.parquet.parts/*/"
    assert interrupt(place, lambda: len(written(place, parts + "layers-*.npz")) >= 2, *SCORE) == (
        130,
        "error: interrupted",
    )
    assert not (place / "l.parquet").exists()
    kept = written(place, parts + "*.npz")
    assert len(kept) >= 8  # the cloud model's, and some of the edge's
    # Again, cut off after its first part more: nothing that was there has been made anew.
    code, _ = interrupt(place, lambda: len(written(place, parts + "losses-edge-*.npz")) >= 1, *SCORE)
    assert code == 130
    now = written(place, parts + "*.npz")
    assert {name: now[name] for name in kept} == kept
    go_on(place, *SCORE)
    assert len(read_labels(place / "l.parquet")) == ROWS
    assert not list(place.glob(".*.parts"))


def test_predict(place: Path) -> None:
    samples = place / ".a.jsonl.samples.jsonl"
    assert interrupt(place, lambda: len(lines(samples)) >= 50, *PREDICT) == (130, "error: interrupted")
    assert not (place / "a.jsonl").exists()
    done = len(lines(samples))
    assert f"{done} of {ROWS} answers are there, going on with the rest" in go_on(place, *PREDICT)
    assert len(lines(place / "a.jsonl")) == ROWS
    assert not samples.exists()


def test_evaluate(place: Path) -> None:
    def answered() -> int:
        return sum(len(lines(path)) for path in place.glob(".f.json.parts/*samples*.jsonl"))

    command = ("evaluate", "edge", "--data", "rows.jsonl", *MEASURE)
    assert interrupt(place, lambda: answered() >= 50, *command) == (130, "error: interrupted")
    assert not (place / "f.json").exists()
    assert f"{answered()} of {ROWS} answers are there, going on with the rest" in go_on(place, *command)
    assert (place / "f.json").exists()
    assert not list(place.glob(".*.parts"))


def test_training_a_generator(place: Path) -> None:
    rows = [{"messages": [{"role": role, "content": f"{text} {i}"} for role, text in TURNS]} for i in range(24)]
    (place / "chats.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    recipe = {
        "name": "g",
        "model": {
            "name_or_path": "./edge",
            "lora_gen": {"cloud": "cloud", "num_experts": 4, "rank": 2, "router_hidden": 8},
        },
        "data": {"train": "chats.jsonl", "format": "messages", "max_length": 256, "show_system_prompt": False},
        "training": {"max_steps": 40, "per_device_train_batch_size": 2, "learning_rate": 1e-2},
        "seeds": [3],
    }
    (place / "g.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    run, command = place / "runs/g/base/seed-3", ("lora-gen", "train", "g.yaml")
    code, line = interrupt(place, lambda: len(lines(run / "metrics.jsonl")) >= 5, *command)
    assert code == 75
    assert "stopped by SIGINT after step" in line
    assert "Run the same command again to go on from it" in line
    done = len(lines(run / "metrics.jsonl"))
    assert done < 40
    assert f"going on from checkpoint-{done}" in go_on(place, *command)
    assert [row["step"] for row in lines(run / "metrics.jsonl")] == list(range(1, 41))
    assert (run / "model" / "lora_gen.json").exists()
