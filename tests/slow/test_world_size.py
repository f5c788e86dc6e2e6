"""A recipe that names its number of processes is the same run on any other: begun on two, ended on one."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

import curricle
from curricle.runtime.files import read_json
from slow.children import PATIENCE, command_line, complete, lines, wait_until
from slow.test_ranks import torchrun

pytestmark = pytest.mark.slow

RECIPE = """
name: same
model: {name_or_path: "nano:llama", shape: {vocab_size: 300}}
data: {train: "toy:dialogue#40", eval: "toy:dialogue#4", format: dialogue, max_length: 512}
training: {max_steps: 30, per_device_train_batch_size: 1, gradient_accumulation_steps: 2, save_steps: 5, use_cpu: true}
distributed: {world_size: 2}
evaluation: [{metric: loss}]
"""
RUN = Path("runs/same/base/seed-42")


def workplace(folder: Path, recipe: str = RECIPE) -> Path:
    folder.mkdir()
    (folder / "recipe.yaml").write_text(recipe)
    return folder


def start_two(folder: Path, *more: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    ranks = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    with (folder / "two.log").open("wb") as log:
        command = [*ranks, "-m", "curricle", "run", "recipe.yaml", *more]
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)


def test_begun_on_two_ended_on_one(tmp_path: Path) -> None:
    alone, shared = workplace(tmp_path / "one"), workplace(tmp_path / "two")
    complete(command_line, alone, "run", "recipe.yaml", said=tmp_path / "one.log")
    told = [] if sqlite_is_missing() else ["--set", "training.report_to=mlflow"]
    job = start_two(shared, *told)
    try:
        assert wait_until(
            lambda: (shared / RUN / "checkpoint-5/trainer_state.json").exists(), lambda: job.poll() is None
        )
        time.sleep(0.2)
    finally:
        job.send_signal(signal.SIGTERM)
        job.wait(PATIENCE)
    stopped = len(lines(shared / RUN / "metrics.jsonl"))
    assert 5 <= stopped < 30, (shared / "two.log").read_text()
    complete(command_line, shared, "run", "recipe.yaml", *told, said=tmp_path / "two.log")
    said = (tmp_path / "two.log").read_text()
    assert "1 process in place of 2: a step keeps its 4 rows, accumulated over 4 micro batches in place of 2" in said
    one, two = lines(alone / RUN / "metrics.jsonl"), lines(shared / RUN / "metrics.jsonl")
    assert lines(alone / RUN / "consumed.jsonl") == lines(shared / RUN / "consumed.jsonl")
    assert [row["loss"] for row in one] == pytest.approx([row["loss"] for row in two], abs=5e-6)
    loss = [read_json(folder / RUN / "results.json")["metrics"]["loss"] for folder in (alone, shared)]
    assert loss[0] == pytest.approx(loss[1], abs=5e-6)
    if told:
        with closing(sqlite3.connect(shared / "runs/same/mlflow.db")) as store:
            assert store.execute("select name, status from runs").fetchall() == [("base/seed-42", "FINISHED")]
            steps = store.execute("select step from metrics where key = 'loss' order by step").fetchall()
        assert [step for (step,) in steps] == list(range(1, 31))


def sqlite_is_missing() -> bool:
    import importlib.util

    return importlib.util.find_spec("mlflow") is None


def test_processes_that_cannot_share_a_step(tmp_path: Path) -> None:
    folder = workplace(tmp_path / "three")
    code, said = torchrun(folder, "-m", "curricle", "run", "recipe.yaml", ranks=3)
    assert code != 0
    assert "`distributed.world_size: 2` makes a step of 4 rows" in said
    assert "start 1, 2, 4, or change the batch" in said
    assert str(Path(curricle.__file__).parent) not in said, "a traceback of ours"
    assert not (folder / "runs").exists()
