"""Too little memory is found out before the first step: the micro batch shrinks, the numbers stay, and it is said."""

from __future__ import annotations

import re
import resource
from dataclasses import replace
from pathlib import Path

import pytest

from slow.children import Job, assert_same_run, command_line, complete, finish, start, train

pytestmark = pytest.mark.slow

SHAPE = {"hidden_size": 192, "intermediate_size": 768}


def address_space(which: str) -> int:
    """What this process holds now (`VmSize`) or has held at most (`VmPeak`), in bytes."""
    [kilobytes] = re.findall(rf"{which}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kilobytes) * 1024


def train_within(job: Job, more: int | None) -> None:
    """Train with at most so many bytes beyond what the process begins with; note how many it took."""
    begun = address_space("VmSize")
    if more is not None:
        resource.setrlimit(resource.RLIMIT_AS, (begun + more, begun + more))
    train(job)
    (job.folder / "took").write_text(str(address_space("VmPeak") - begun))


def test_a_micro_batch_that_does_not_fit_shrinks_and_the_run_stays_the_same(tmp_path: Path) -> None:
    settings = {"max_steps": 2, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1}
    large = Job(tmp_path / "large", shape=SHAPE, max_length=512, dropout=0.0, training=settings)
    smaller = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    small = replace(large, folder=tmp_path / "small", training=settings | smaller)
    for job in (large, small):
        complete(train_within, job, None, said=tmp_path / "log")
    assert "out of memory" not in (tmp_path / "log").read_text()
    takes_large, takes_small = (int((job.folder / "took").read_text()) for job in (large, small))
    assert takes_large > 1.3 * takes_small
    short, said = replace(large, folder=tmp_path / "short"), tmp_path / "short.log"
    # Left free, malloc takes more than it needs: 4 rows get along with 0.6 of what they took, 8 with 0.75.
    complete(train_within, short, int(0.8 * takes_small), said=said)
    told = [line for line in said.read_text().splitlines() if "out of memory" in line]
    now = "going on with 4 rows and 2 accumulation steps, the global batch unchanged"
    assert told == [f"out of memory at 8 rows a micro batch: {now}"]
    assert_same_run(short.folder, small.folder)


RECIPE = """
name: small
model: {name_or_path: "nano:llama", shape: {vocab_size: 300}}
data: {train: "toy:dialogue#200", format: dialogue, max_length: 16384}
training: {max_steps: 4, per_device_train_batch_size: 2}
"""


def train_in_little(folder: Path, more: int) -> None:
    limit = address_space("VmSize") + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    command_line(folder, "train", "recipe.yaml")


def test_a_row_that_does_not_fit_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    said = tmp_path / "log"
    code = finish(start(train_in_little, tmp_path, 100 * 2**20, said=said), said)
    told = said.read_text().splitlines()
    assert code == 2, told
    assert "out of memory on one row of 16384 tokens; lower data.max_length" in told[-1]
    assert not list(tmp_path.rglob("model"))
