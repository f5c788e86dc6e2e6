"""A rank that dies takes the job with it, at once, and the last words say which one it was and why."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import pytest

from slow.test_ranks import torchrun

pytestmark = pytest.mark.slow

AT_MOST = 60.0
"""Seconds from a rank's death to the end of the job."""
RECIPE = """
name: falling
model: {name_or_path: "nano:llama", shape: {vocab_size: 300}}
data: {train: "toy:dialogue#20", format: dialogue, max_length: 512}
training: {max_steps: 100000, per_device_train_batch_size: 2, use_cpu: true}
distributed: {enabled: true}
"""


@pytest.mark.parametrize("how", [signal.SIGUSR1, signal.SIGKILL], ids=["exception", "kill"])
def test_the_job_ends_with_the_rank(how: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    script = str(Path(__file__).with_name("falling.py"))
    code, said = torchrun(tmp_path, script, str(int(how)))
    took = time.time() - float(re.search(r"falls at ([\d.]+)", said)[1])  # type: ignore[index]
    assert code != 0
    assert took < AT_MOST
    first = said.partition("Root Cause (first observed failure):")[2]
    assert re.search(r"rank +: 1 ", first), said
    if how == signal.SIGUSR1:
        assert "falling.py" in first
        assert "ZeroDivisionError: the second rank fell over" in first
    else:
        assert "Signal 9 (SIGKILL)" in first
    assert not (tmp_path / "runs/falling/base/seed-42/model").exists()
