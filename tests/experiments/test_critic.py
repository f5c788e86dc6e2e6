"""A critic in a recipe: stage 1, and stage 2 from its model; what is refused before a model is opened."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

import curricle
from curricle.errors import CurricleError, RecipeError
from curricle.experiments.overrides import overlay
from curricle.experiments.resolve import resolve
from curricle.models.config import ModelConfig
from curricle.models.loading import load_model
from curricle.models.value_head import value_head_of
from curricle.runtime.logs import JsonLog
from curricle.training.export import export

TRAINING = {"max_steps": 3, "per_device_train_batch_size": 2, "learning_rate": 0.02, "use_cpu": True}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def write_rows(path: Path, num: int, rewards: list[Any] | None = None) -> str:
    rng = random.Random(num)
    with path.open("w") as file:
        for i in range(num):
            good = i % 2 == 0 if rewards is None else rewards[i]
            answer = f"it is {rng.randint(1, 9)}" if good else f"maybe {rng.randint(1, 9)} or so"
            row = {"prompt": f"what is {rng.randint(1, 9)} + 1?", "completion": answer, "is_correct": good}
            file.write(json.dumps(row) + "\n")
    return str(path)


def recipe(folder: Path, **changes: Any) -> dict[str, Any]:
    data = {"train": write_rows(folder / "train.jsonl", 24), "eval": write_rows(folder / "dev.jsonl", 8)}
    shape = {"vocab_size": 300, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    base = {
        "name": "critic",
        "model": {"name_or_path": "nano:llama", "shape": shape},
        "data": {**data, "format": "prompt-completion", "max_length": 64, "reward_field": "is_correct"},
        "training": TRAINING,
        "evaluation": [{"metric": "loss"}],
    }
    return overlay(base, changes)


def run(asked: dict[str, Any]) -> Any:
    return curricle.run(asked)


def rows_of(result: Any, arm: str) -> list[dict[str, Any]]:
    return JsonLog(Path(result.folder) / arm / "seed-42" / "metrics.jsonl").rows()


@pytest.mark.parametrize("trainer", ["hf", "trl"])
def test_stage_1_and_stage_2_are_arms_of_one_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trainer: str
) -> None:
    monkeypatch.chdir(tmp_path)
    arms = {
        "critic": {"critic": {"stage": "pretrain", "kind": "bounded"}},
        "weighted": {
            "model": {"from_arm": "critic"},
            "critic": {"kind": "bounded"},
            "weighting": {"kind": "td_error", "gae_lambda": 1.0},
        },
    }
    result = run(recipe(tmp_path, arms=arms, trainer=trainer))
    one, two = rows_of(result, "critic"), rows_of(result, "weighted")
    assert {"value_loss", "explained_variance"} <= one[-1].keys()
    assert {"weight_correct", "weight_incorrect", "value_clipped"} <= two[-1].keys()
    assert two[-1]["weight_correct"] > two[-1]["weight_incorrect"]
    folders = [Path(result.folder) / arm / "seed-42" / "model" for arm in arms]
    heads = [value_head_of(load_model(ModelConfig(name_or_path=str(folder)))) for folder in folders]
    assert all(head.kind == "bounded" and head.readout.abs().sum() > 0 for head in heads)
    assert not torch.equal(heads[0].readout, heads[1].readout)


def test_stage_2_is_a_recipe_of_its_own_with_an_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the folder of stage 1; exported, the head is still there."""
    monkeypatch.chdir(tmp_path)
    one = run(recipe(tmp_path, name="one", critic={"stage": "pretrain"}))
    folder = Path(one.folder) / "base" / "seed-42" / "model"
    second = recipe(tmp_path, name="two", critic={"stage": "joint"})
    second["model"] = {"name_or_path": str(folder), "adapter": {"lora_r": 2}}
    two = run(second)
    assert rows_of(two, "base")[0]["value_mean"] != 0  # it goes on with what stage 1 has learned
    out = export(Path(two.folder) / "base" / "seed-42", tmp_path / "merged")
    head = value_head_of(load_model(ModelConfig(name_or_path=str(out))))
    assert not torch.equal(head.readout, value_head_of(load_model(ModelConfig(name_or_path=str(folder)))).readout)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": {"reward_field": None}}, "`critic` needs to know which rows are good"),
        ({"critic": {"loss": "bce"}}, r"critic\.loss is bce"),
        ({"critic": {"stage": "first"}}, "pretrain"),
        ({"model": {"lora_gen": {"cloud": "nano:llama"}}}, r"`critic` does not go with `model\.lora_gen`"),
    ],
)
def test_what_a_recipe_cannot_ask_for(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        resolve(overlay(recipe(tmp_path, critic={"stage": "pretrain"}), changes))


@pytest.mark.parametrize(
    ("rewards", "critic", "said"),
    [
        ([True] * 6, {"stage": "pretrain"}, "all 6 rows of data.train have the reward 1"),
        (
            [True, False] * 3,
            {"stage": "joint"},
            "`nano:llama` has no value head; train one with critic.stage: pretrain",
        ),
    ],
)
def test_what_is_refused_before_a_model_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rewards: list[Any], critic: dict[str, Any], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = recipe(tmp_path, critic=critic)
    asked["data"]["train"] = write_rows(tmp_path / "other.jsonl", len(rewards), rewards)
    with pytest.raises(CurricleError) as error:
        run(asked)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("runs/*/base/*/metrics.jsonl"))


def test_a_saved_head_of_another_kind_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one = run(recipe(tmp_path, name="one", critic={"stage": "pretrain"}, training={"max_steps": 1}))
    second = recipe(tmp_path, name="two", critic={"kind": "bounded"})
    second["model"] = {"name_or_path": str(Path(one.folder) / "base" / "seed-42" / "model")}
    with pytest.raises(CurricleError, match="has a linear value head; set it to linear"):
        run(second)
