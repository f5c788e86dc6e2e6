"""`report_to`: each tracker gets the run's numbers, without a network, from the first of two ranks only."""

from __future__ import annotations

import importlib.util
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from slow.children import command_line, complete, lines
from slow.test_ranks import torchrun

pytestmark = pytest.mark.slow

TRACKERS = [name for name in ("tensorboard", "mlflow", "wandb") if importlib.util.find_spec(name)]

RECIPE = """
name: told
model: {name_or_path: "nano:llama", shape: {vocab_size: 300}}
data: {train: "toy:dialogue#20", format: dialogue, max_length: 512}
training: {max_steps: 4, per_device_train_batch_size: 2, gradient_accumulation_steps: 2, logging_steps: 1}
"""
RUN = Path("runs/told/base/seed-42")


def workplace(folder: Path) -> Path:
    folder.mkdir()
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on two ranks that reports to every tracker that is installed."""
    folder = workplace(tmp_path_factory.mktemp("trackers") / "two")
    changes = (f"training.report_to=[{','.join(TRACKERS)}]", "training.gradient_accumulation_steps=1")
    command = ["curricle", "train", "recipe.yaml", *(part for change in changes for part in ("--set", change))]
    code, said = torchrun(folder, "-m", *command)
    assert code == 0, said
    return folder


@pytest.mark.skipif("tensorboard" not in TRACKERS, reason="tensorboard is not installed")
def test_tensorboard(told: Path) -> None:
    [file] = told.rglob("events.out.tfevents.*")
    assert b"train/grad_norm" in file.read_bytes()


@pytest.mark.skipif("mlflow" not in TRACKERS, reason="mlflow is not installed")
def test_mlflow(told: Path) -> None:
    assert not (told / "mlflow.db").exists()
    with closing(sqlite3.connect(told / "runs/told/mlflow.db")) as store:
        assert store.execute("select name, status from runs").fetchall() == [("base/seed-42", "FINISHED")]
        assert store.execute("select count(*) from metrics where key = 'grad_norm'").fetchall() == [(4,)]


@pytest.mark.skipif("wandb" not in TRACKERS, reason="wandb is not installed")
def test_wandb(told: Path) -> None:
    [run] = (told / "wandb").glob("offline-run-*")
    assert b"train/grad_norm" in next(run.glob("*.wandb")).read_bytes()


def test_the_command_line_on_two_ranks_is_that_on_one(told: Path, tmp_path: Path) -> None:
    alone = workplace(tmp_path / "one")
    complete(command_line, alone, "train", "recipe.yaml", said=tmp_path / "log")
    one, two = lines(alone / RUN / "metrics.jsonl"), lines(told / RUN / "metrics.jsonl")
    assert lines(alone / RUN / "consumed.jsonl") == lines(told / RUN / "consumed.jsonl")
    assert [row["loss"] for row in one] == pytest.approx([row["loss"] for row in two], abs=5e-7)
    weights = Path("model/model.safetensors")
    assert (alone / RUN / weights).read_bytes() == (told / RUN / weights).read_bytes()
