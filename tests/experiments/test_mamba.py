"""Mamba and Mamba-2 from a recipe to answers: plan, train whole and with LoRA, resume, measure, predict, export."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import curricle
from curricle.errors import ModelError
from curricle.experiments.plan import Plan
from curricle.runtime.files import read_json

KINDS = ["mamba", "mamba2"]


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, libraries: None) -> dict[str, Any]:
    """A few short rows: the reference implementation of Mamba goes token by token."""
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    rows = [{"prompt": f"{number} plus one", "completion": f" is {number + 1}"} for number in range(6)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {
        "name": "states",
        "seed": 0,
        "model": {"shape": {"vocab_size": 300, "hidden_size": 16, "num_hidden_layers": 1}},
        "data": {"train": "rows.jsonl", "eval": "rows.jsonl#2", "format": "prompt-completion", "max_length": 64},
        "training": {"max_steps": 2, "per_device_train_batch_size": 1, "save_steps": 1, "use_cpu": True},
        "generation": {"max_new_tokens": 3},
        "evaluation": [{"metric": "perplexity"}, {"metric": "rouge"}],
    }


def of(recipe: dict[str, Any], kind: str, packing: str | None = "none", **model: Any) -> dict[str, Any]:
    data = recipe["data"] | ({"packing": packing} if packing else {})
    return recipe | {"data": data, "model": recipe["model"] | {"name_or_path": f"nano:{kind}", **model}}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("adapter", [{"lora_r": 2}, None])
def test_from_plan_to_answers(recipe: dict[str, Any], kind: str, adapter: Any) -> None:
    asked = of(recipe, kind, adapter=adapter)
    plan = curricle.run(asked, plan=True)
    assert isinstance(plan, Plan)
    assert plan.arms[0].memory.activations > 0
    curricle.run(asked)
    folder = Path("runs/states/base/seed-0")
    results = read_json(folder / "results.json")
    assert {name.partition(".")[0] for name in results["metrics"]} >= {"perplexity", "rouge"}
    assert results["model"]["recurrence"] == (5 if kind == "mamba2" else 9) * 32 * 16
    curricle.export(folder, "whole")
    curricle.predict("whole", "rows.jsonl", "answers.jsonl", max_new_tokens=3)
    assert len(Path("answers.jsonl").read_text(encoding="utf-8").splitlines()) == 6
    if adapter:
        saved = read_json(folder / "model" / "adapter_config.json")
        assert saved["target_modules"] == ["in_proj"]
        factors = load_file(folder / "model" / "adapter_model.safetensors")
        assert all(tensor.any() for name, tensor in factors.items() if "lora_B" in name)


def test_a_run_cut_short_goes_on_to_the_same_weights(recipe: dict[str, Any]) -> None:
    asked = of(recipe, "mamba2", adapter={"lora_r": 2})
    folder = Path("runs/states/base/seed-0")
    curricle.run(asked)
    unbroken = load_file(folder / "model" / "adapter_model.safetensors")
    shutil.rmtree(folder / "checkpoint-2")
    shutil.rmtree(folder / "model")
    (folder / "results.json").unlink()
    curricle.run(asked)
    resumed = load_file(folder / "model" / "adapter_model.safetensors")
    assert all(torch.equal(resumed[name], tensor) for name, tensor in unbroken.items())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("plan", [True, False])
def test_a_recipe_that_says_nothing_of_packing_gets_a_line(recipe: dict[str, Any], kind: str, plan: bool) -> None:
    with pytest.raises(ModelError, match=rf"state of a {kind} model runs on .* set data\.packing: none"):
        curricle.run(of(recipe, kind, packing=None), plan=plan)


def test_layers_that_are_read_past_are_refused_by_name(recipe: dict[str, Any]) -> None:
    asked = of(recipe, "mamba", adapter={"lora_target_modules": ["in_proj", "dt_proj"]})
    with pytest.raises(ModelError, match="names dt_proj, but a mamba model reads these weights"):
        curricle.run(asked)
