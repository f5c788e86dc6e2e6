"""`model.mtp` through a recipe: trained whole and under an adapter, on packed rows, and exported as one model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import curricle
from curricle.experiments.recipe import Recipe
from curricle.models.config import ModelConfig
from curricle.models.loading import load_model
from curricle.models.nano import train_tokenizer
from curricle.runtime.logs import JsonLog

ROWS = [
    {"prompt": f"What is {i} and {j}?", "completion": f"It is {i + j}, of course."} for i in range(5) for j in range(6)
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, libraries: None) -> Path:
    """Rows and a small saved Llama."""
    monkeypatch.chdir(tmp_path)
    text = "".join(json.dumps(row) + "\n" for row in ROWS)
    Path("rows.jsonl").write_text(text)
    tokenizer = train_tokenizer([text], 300)
    tokenizer.save_pretrained("plain")
    small = ModelConfig(name_or_path="nano:llama", shape={"num_hidden_layers": 3})
    load_model(small, tokenizer=tokenizer).save_pretrained("plain")
    return tmp_path


def recipe(name: str, **model: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "name": name,
            "model": model,
            "data": {
                "train": "rows.jsonl",
                "eval": "rows.jsonl",
                "format": "prompt-completion",
                "max_length": 64,
                "packing": "ordered",
            },
            "training": {"max_steps": 2, "learning_rate": 1e-3, "per_device_train_batch_size": 2, "use_cpu": True},
            "evaluation": [{"metric": "perplexity"}],
            "seeds": [0],
        }
    )


@pytest.mark.parametrize("kind", ["parallel", "sequential"])
def test_an_adapter_over_added_heads_is_exported_with_the_heads_it_was_trained_on(kind: str, here: Path) -> None:
    """New heads are made in the run, the projection of a sequential one at random: nothing else has them."""
    heads = {"num_future_tokens": 3, "kind": kind}
    curricle.run(recipe("small", name_or_path="plain", mtp=heads, adapter={"lora_r": 2}))
    run = here / "runs/small/base/seed-0"
    base: Any = load_model(ModelConfig(name_or_path=str(run / "base")))
    whole: Any = load_model(ModelConfig(name_or_path=str(curricle.export(run, "out"))))
    for name, value in whole.state_dict().items():
        learned = (value - base.state_dict()[name]).abs().max()
        assert learned < 0.05, name
    assert any(
        not torch.equal(one, other)
        for one, other in zip(whole.extra_heads.parameters(), base.extra_heads.parameters(), strict=True)
    )


def test_a_model_from_scratch_is_trained_saved_and_measured(here: Path) -> None:
    shape = {"num_hidden_layers": 4, "vocab_size": 300}
    curricle.run(recipe("scratch", name_or_path="nano:llama", shape=shape, mtp={"num_future_tokens": 3}))
    run = here / "runs/scratch/base/seed-0"
    saved: Any = load_model(ModelConfig(name_or_path=str(run / "model")))
    assert (saved.config.num_future_tokens, len(saved.model.layers)) == (3, 2)
    assert "perplexity" in json.loads((run / "results.json").read_text())["metrics"]
    steps = [row for row in JsonLog(run / "metrics.jsonl").rows() if "grad_norm" in row]
    assert [{"loss_head_2", "loss_head_3"} <= row.keys() for row in steps] == [True, True]
