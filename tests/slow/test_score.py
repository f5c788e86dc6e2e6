"""Scoring shared by two ranks gives the labels of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from curricle.curriculum.labels import read_labels
from difficulty.nano_pair import save_pair, write_rows

pytestmark = pytest.mark.slow


def score(folder: Path, output: str, ranks: int) -> None:
    command = ["-m", "curricle", "score", "rows.jsonl", "--cloud", "cloud", "--edge", "edge", "-o", output]
    launcher = [] if ranks == 1 else ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"]
    done = subprocess.run(
        [sys.executable, *launcher, *command], cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def test_two_ranks_give_the_labels_of_one(tmp_path: Path) -> None:
    save_pair(tmp_path)
    write_rows(tmp_path / "rows.jsonl", 700)  # three parts, so that both ranks have one
    for output, ranks in (("one.parquet", 1), ("two.parquet", 2)):
        score(tmp_path, output, ranks)
    one, two = (read_labels(tmp_path / name) for name in ("one.parquet", "two.parquet"))
    assert (one.ids == two.ids).all()
    np.testing.assert_array_equal(two.layers, one.layers)
    assert one.about["fingerprint"] == two.about["fingerprint"]
    for name, values in one.columns.items():
        np.testing.assert_allclose(two.columns[name], values, rtol=1e-4, atol=1e-5, err_msg=name)
    assert not list(tmp_path.glob(".*.parts"))
