"""Averaged checkpoints of two ranks: a recipe from end to end, and what sharded ranks have saved."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from curricle.runtime.files import read_json
from curricle.training.averaging import average_into, last_checkpoints
from slow.ranks import RankJob
from slow.test_ranks import job, launch, torchrun

pytestmark = pytest.mark.slow

RECIPE = """
name: mean
model: {name_or_path: "nano:llama", shape: {vocab_size: 300, hidden_size: 32, num_hidden_layers: 1}}
data: {train: "toy:dialogue#20", eval: "toy:dialogue#4", format: dialogue, max_length: 512}
training: {max_steps: 5, per_device_train_batch_size: 2, learning_rate: 0.01,
  use_cpu: true, save_steps: 2, save_total_limit: 2}
distributed: {enabled: true}
selection: {average: 2}
evaluation: [{metric: loss}]
"""


def assert_is_mean(model: Path, parts: list[Path], name: str = "model.safetensors") -> None:
    mean, *others = (load_file(folder / name) for folder in (model, *parts))
    assert mean.keys() == others[0].keys()
    for tensor, value in mean.items():
        exact = sum(other[tensor].double() for other in others) / len(others)
        assert torch.equal(value, exact.to(value.dtype))
    assert any(not torch.equal(mean[tensor], others[-1][tensor]) for tensor in mean)


def test_ranks_save_the_mean_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURRICLE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    code, said = torchrun(tmp_path, "-m", "curricle", "run", "recipe.yaml")
    assert code == 0, said
    folder = tmp_path / "runs/mean/base/seed-42"
    assert read_json(folder / "results.json")["averaged"] == ["checkpoint-4", "checkpoint-5"]
    assert sorted(path.name for path in folder.glob("checkpoint-*")) == ["checkpoint-4", "checkpoint-5"]
    assert_is_mean(folder / "model", [folder / "checkpoint-4", folder / "checkpoint-5"])


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_what_sharded_ranks_have_saved_is_averaged_whole(tmp_path: Path, kind: str) -> None:
    saves = {"save_strategy": "steps", "save_steps": 2}
    code, said = launch(tmp_path, "sharded", [RankJob(job(tmp_path / "run", kind, 1, **saves), sharded=True)])
    assert code == 0, said
    parts = last_checkpoints(tmp_path / "run", 2, 2, 6)
    shutil.copytree(tmp_path / "run/final", tmp_path / "mean")
    average_into(tmp_path / "mean", parts)
    assert_is_mean(tmp_path / "mean", parts, "adapter_model.safetensors" if kind == "lora" else "model.safetensors")
