"""`selection.average` in recipes: which model is saved, what the results say, and what is refused before a step."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import curricle
from curricle.errors import RecipeError
from curricle.experiments.resolve import resolve
from curricle.runtime.files import read_json
from curricle.training.config import num_checkpoints
from experiments.test_lora_gen import place, recipe

__all__ = ["place"]  # the fixture

RECIPE: dict[str, Any] = {
    "name": "mean",
    "seed": 3,
    "model": {"name_or_path": "nano:llama", "shape": {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 1}},
    "data": {"train": "toy:dialogue#16", "eval": "toy:dialogue-eval#6", "format": "dialogue", "max_length": 384},
    "training": {
        "max_steps": 5,
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
        "save_steps": 2,
        "save_total_limit": 3,
        "eval_strategy": "no",
    },
    "selection": {"average": 3},
    "evaluation": [{"metric": "loss"}],
}


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)


def assert_is_mean(run: Path, steps: list[int], name: str = "model.safetensors") -> None:
    assert read_json(run / "results.json")["averaged"] == [f"checkpoint-{step}" for step in steps]
    parts = [load_file(run / f"checkpoint-{step}" / name) for step in steps]
    model = load_file(run / "model" / name)
    assert model.keys() == parts[0].keys()
    for tensor, mean in model.items():
        exact = sum(part[tensor].double() for part in parts) / len(parts)
        assert torch.equal(mean, exact.to(mean.dtype))


@pytest.mark.usefixtures("libraries")
def test_the_mean_is_saved_and_measured_and_the_same_after_a_resume() -> None:
    alone: dict[str, Any] = {"selection": {"average": None}}
    whole = curricle.run(RECIPE | {"arms": {"mean": {}, "last": alone, "untouched": {"trainer": "none"}}})
    losses = {run.arm: run.results["metrics"]["loss"] for run in whole.runs}
    assert len(set(losses.values())) == 3
    assert [run.results["averaged"] for run in whole.runs[1:]] == [None, None]
    run = Path("runs/mean/mean/seed-3")
    assert_is_mean(run, [2, 4, 5])
    before = load_file(run / "model/model.safetensors")
    for name in ("model", "checkpoint-5"):
        shutil.rmtree(run / name)
    (run / "results.json").unlink()
    again = curricle.run(RECIPE | {"arms": {"mean": {}}})
    assert again.runs[0].results["metrics"]["loss"] == losses["mean"]
    assert all(torch.equal(before[name], tensor) for name, tensor in load_file(run / "model/model.safetensors").items())


@pytest.mark.usefixtures("libraries")
def test_a_smoke_averages_what_it_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert "ran once" in str(curricle.run(RECIPE, smoke=True))


def test_a_generator_of_lora_is_averaged_like_any_weights(place: Path) -> None:
    changed = recipe(place)
    changed["training"] |= {"max_steps": 2, "save_steps": 1}
    curricle.train(changed | {"selection": {"average": 2}, "evaluation": []})
    [run] = Path("runs").glob("*/base/seed-*")
    assert_is_mean(run, [1, 2])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training.save_total_limit": 2}, "save_total_limit` is 2, and `selection.average` needs the last 3"),
        ({"training.save_strategy": "no"}, "save_strategy` is no, and `selection.average: 3` needs checkpoints"),
        ({"training.eval_strategy": "steps", "selection.metric": "loss"}, "and `selection.metric` chooses one"),
        ({"training.max_steps": 4}, "is 3, but 4 steps with `training.save_steps: 2` make 2 checkpoints"),
        ({"training.save_steps": 0.5}, "make 2 checkpoints; save more often"),
        ({"selection.average": 1}, "greater than or equal to 2"),
    ],
)
def test_what_cannot_be_averaged_is_refused_in_the_recipe(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        resolve(RECIPE, [f"{key}={value}" for key, value in changes.items()])


@pytest.mark.usefixtures("libraries")
def test_a_length_that_the_data_decides_is_looked_at_before_training() -> None:
    epochs = ["training.max_steps=-1", "training.num_train_epochs=2", "training.save_strategy=epoch"]
    with pytest.raises(RecipeError, match=r"is 3, but .* make 2 checkpoints"):
        curricle.run(RECIPE, overrides=epochs)
    assert not list(Path("runs").rglob("seed-*"))


@pytest.mark.parametrize(
    ("steps", "every", "found"), [(46, 10, 5), (40, 10, 4), (3, 10, 1), (40, 0.1, 10), (7, 0.3, 3), (5, 0.01, 5)]
)
def test_how_many_checkpoints_a_run_saves(steps: int, every: float, found: int) -> None:
    assert num_checkpoints(steps, every) == found
