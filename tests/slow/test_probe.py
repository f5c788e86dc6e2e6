"""A probe on two ranks gives the losses of one, and so does one that was killed for good and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curricle.curriculum.labels import Labels, read_labels
from difficulty.nano_pair import WORDS, save_model, write_rows

pytestmark = pytest.mark.slow

RECIPE: dict[str, Any] = {
    "model": {"name_or_path": "model"},
    "data": {"train": "rows.jsonl", "format": "prompt-completion", "max_length": 96},
    "training": {
        "max_steps": 6,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "save_strategy": "steps",
        "save_steps": 1,
        "use_cpu": True,
    },
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(tmp_path / "model", "llama", 0, WORDS * 4, num_hidden_layers=1)
    write_rows(tmp_path / "rows.jsonl", 60)
    (tmp_path / "r.yaml").write_text(json.dumps(RECIPE), encoding="utf-8")
    return tmp_path


def start(folder: Path, output: str, *more: str, ranks: int = 1) -> subprocess.Popen[str]:
    launcher = [] if ranks == 1 else ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"]
    command = [sys.executable, *launcher, "-m", "curricle", "probe", "r.yaml", "-o", output, *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str], folder: Path, output: str) -> Labels:
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said[-3000:]
    assert not list(folder.glob(".*.parts"))
    return read_labels(folder / output)


def test_two_ranks_give_the_losses_of_one(folder: Path) -> None:
    one = finish(start(folder, "one.parquet"), folder, "one.parquet")
    halved = ("--set", "training.per_device_train_batch_size=2")
    two = finish(start(folder, "two.parquet", *halved, ranks=2), folder, "two.parquet")
    assert (one.ids == two.ids).all()
    np.testing.assert_allclose(two.columns["probe"], one.columns["probe"], rtol=1e-3)
    assert two.flops == one.flops


def test_a_killed_process_is_gone_on_with(folder: Path) -> None:
    whole = finish(start(folder, "whole.parquet"), folder, "whole.parquet")
    process = start(folder, "cut.parquet")
    deadline = time.monotonic() + 240
    while not list(folder.glob(".cut.parquet.parts/*/fold-1/seed-*/checkpoint-3")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    again = start(folder, "cut.parquet")
    cut = finish(again, folder, "cut.parquet")
    np.testing.assert_array_equal(cut.columns["probe"], whole.columns["probe"])
    assert cut.flops == whole.flops
