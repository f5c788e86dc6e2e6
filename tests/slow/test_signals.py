"""`curricle train` asked to stop: it saves, says how to go on and exits 75; the same command then finishes the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from curricle.runtime.rundir import hold
from curricle.training import checkpoints
from slow.children import PATIENCE, command_line, complete, finish, lines, start, steps_told, wait_until

pytestmark = pytest.mark.slow

RECIPE = """
name: asked
seed: 3
model: {name_or_path: "nano:llama", shape: {vocab_size: 300}, adapter: {lora_dropout: 0.1}}
data: {train: "toy:dialogue#40", eval: "toy:dialogue-eval#8", format: dialogue, max_length: 512}
training: {max_steps: 24, per_device_train_batch_size: 2, learning_rate: 1.0e-3, save_total_limit: 1, eval_steps: 4}
selection: {metric: loss}
"""
RUN = Path("runs/asked/base/seed-3")
TRAIN = ("train", "recipe.yaml")


def workplace(folder: Path) -> Path:
    folder.mkdir()
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = workplace(tmp_path_factory.mktemp("signals") / "whole")
    complete(command_line, folder, *TRAIN, said=folder / "log")
    return folder / RUN


def ask_to_stop(folder: Path, number: signal.Signals, *command: str) -> tuple[int, list[str]]:
    """Start a command, signal it in its sixth step; its exit code and what it said."""
    log = folder / RUN / "metrics.jsonl"
    with (folder / "log").open("w") as said:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        child = subprocess.Popen([sys.executable, "-m", *command], cwd=folder, stderr=said, env=environment)
    wait_until(lambda: len(lines(log)) >= 6, lambda: child.poll() is None)
    child.send_signal(number)
    code = child.wait(PATIENCE)
    return code, (folder / "log").read_text().splitlines()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_asked_to_stop_goes_on_with_the_same_command(tmp_path: Path, whole: Path, number: signal.Signals) -> None:
    folder = workplace(tmp_path / "asked")
    code, told = ask_to_stop(folder, number, "curricle", *TRAIN)
    assert code == 75, told
    done = len(lines(folder / RUN / "metrics.jsonl"))
    [line] = [line for line in told if line.startswith("error: ")]
    assert line == told[-1]
    assert f"stopped by {number.name} after step {done} of 24" in line
    assert "Run the same command again" in line
    assert (folder / RUN / f"checkpoint-{done}").is_dir()
    assert not (folder / RUN / "results.json").exists()
    complete(command_line, folder, *TRAIN, said=folder / "log")
    assert f"going on from checkpoint-{done}" in (folder / "log").read_text()
    assert steps_told(folder / RUN) == steps_told(whole)
    for name in ("consumed.jsonl", "heldout.jsonl"):
        assert lines(folder / RUN / name) == lines(whole / name)
    weights = "model/adapter_model.safetensors"
    assert (folder / RUN / weights).read_bytes() == (whole / weights).read_bytes()


def test_two_ranks_asked_to_stop_save_at_the_same_step(tmp_path: Path) -> None:
    """torchrun passes the signal on, waits for its ranks, and then exits with a code of its own."""
    folder = workplace(tmp_path / "asked")
    torchrun = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    _, told = ask_to_stop(folder, signal.SIGTERM, *torchrun, "-m", "curricle", *TRAIN)
    done = len(lines(folder / RUN / "metrics.jsonl"))
    for rank in range(2):
        assert any(f"(rank {rank}): stopped by SIGTERM after step {done} of 24" in line for line in told), told
    assert checkpoints.newest_whole(folder / RUN) == folder / RUN / f"checkpoint-{done}"


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    folder = workplace(tmp_path / "asked")
    with hold(folder / "runs" / "asked"):
        code = finish(start(command_line, folder, *TRAIN, said=folder / "log"), folder / "log")
    [line] = (folder / "log").read_text().splitlines()
    assert code == 2
    assert f"in use by another process (pid {os.getpid()})" in line
    assert not (folder / RUN).exists()
