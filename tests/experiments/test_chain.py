"""Arms that start from another arm's model."""

from __future__ import annotations

import json
import os
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import curricle
from curricle.errors import RecipeError, RunError
from curricle.experiments.comparison.compute import train_flops
from curricle.experiments.overrides import overlay
from curricle.experiments.resolve import resolve
from curricle.runtime.files import read_json

RECIPE: dict[str, Any] = {
    "name": "chain",
    "model": {
        "name_or_path": "nano:llama",
        "shape": {"vocab_size": 300, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1},
    },
    "data": {"train": "toy:dialogue#20", "eval": "toy:dialogue-eval#4", "format": "dialogue", "max_length": 512},
    "training": {"max_steps": 2, "per_device_train_batch_size": 1, "learning_rate": 0.01, "use_cpu": True},
    "evaluation": [{"metric": "loss"}],
    "arms": {
        "second": {"model": {"from_arm": "first"}, "training": {"learning_rate": 0.0}},
        "first": {},
        "other": {"training": {"max_steps": 1}},
    },
}


def with_arms(**arms: dict[str, Any]) -> dict[str, Any]:
    return overlay(deepcopy(RECIPE), {"arms": arms})  # type: ignore[no-any-return]


def test_arms_are_carried_out_after_those_they_start_from_and_shown_as_written() -> None:
    found = resolve(RECIPE)
    assert list(found.arms) == ["second", "first", "other"]
    assert [arm.name for arm in found.in_order()] == ["first", "second", "other"]
    assert list(found.select(["second"]).arms) == ["second", "first"]
    assert list(found.select(["other"]).arms) == ["other"]


def test_another_start_is_another_training() -> None:
    one, other = resolve(RECIPE), resolve(with_arms(first={"training": {"learning_rate": 0.02}}))
    assert one.arms["second"].hash != other.arms["second"].hash
    assert one.arms["other"].hash == other.arms["other"].hash
    assert resolve(one.tree()).arms["second"].hash == one.arms["second"].hash


@pytest.mark.parametrize(
    ("arms", "said"),
    [
        ({"second": {"model": {"from_arm": "frist"}}}, "arm `second`: `model.from_arm` is frist.*did you mean `first`"),
        ({"first": {"model": {"from_arm": "second"}}}, "in a circle: second -> first -> second"),
        ({"first": {"model": {"adapter": {"lora_r": 2}}}}, "trains an adapter and not a whole model"),
        ({"first": {"trainer": "none"}}, "is first, which trains nothing"),
        (
            {"other": {"weighting": {"kind": "reference_excess", "reference": "arm:frist"}}},
            "arm `other`: `weighting.reference` is frist, no arm",
        ),
        (
            {"first": {"weighting": {"kind": "reference_excess", "reference": "arm:second"}}},
            "in a circle: second -> first -> second",
        ),
        ({"first": {"model": {"shape": {"hidden_size": 32}}}}, "`model.shape` is .* here and .* there"),
    ],
)
def test_what_cannot_be_started_from(arms: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said) as error:
        resolve(with_arms(**arms))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("lowest", "critic", "said"),
    [
        ({}, {}, "arm `last` goes on with the critic of `second`, which has none, nor has `first`, .*; give `first` a"),
        ({"kind": "bounded"}, {}, "arm `last` has a linear critic and starts from `first` with a bounded one"),
        ({"kind": "linear"}, {"kind": "bounded", "new_head": "zero"}, "arm `last` has a bounded critic and starts"),
    ],
)
def test_a_critic_is_looked_for_all_the_way_up(lowest: dict[str, Any], critic: dict[str, Any], said: str) -> None:
    """`second` lies between, and has no critic of its own: the head stays in its model."""
    first = {"critic": {"stage": "pretrain", **lowest}} if lowest else {}
    rewarded = {"data": {"reward_field": "is_correct"}}
    arms = {"first": first, "last": {"model": {"from_arm": "second"}, "critic": critic}}
    with pytest.raises(RecipeError, match=said) as error:
        resolve(overlay(with_arms(**arms), rewarded))
    assert "\n" not in str(error.value)


def test_a_critic_from_the_top_of_the_chain_is_there() -> None:
    arms = {
        "first": {"critic": {"stage": "pretrain", "kind": "bounded"}},
        "last": {"model": {"from_arm": "second"}, "critic": {"kind": "bounded"}},
    }
    found = resolve(overlay(with_arms(**arms), {"data": {"reward_field": "is_correct"}}))
    assert [arm.name for arm in found.in_order()] == ["first", "second", "other", "last"]


def test_a_run_starts_from_the_weights_that_the_other_arm_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CURRICLE_CACHE", str(tmp_path / "cache"))
    result = curricle.run(RECIPE, arms=["second"], seeds=[3])
    first, second = (load_file(f"runs/chain/{arm}/seed-3/model/model.safetensors") for arm in ("first", "second"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    books = {arm: read_json(f"runs/chain/{arm}/seed-3/results.json") for arm in ("first", "second")}
    assert books["first"]["label_flops"] == 0
    assert books["second"]["label_flops"] == train_flops(books["first"]) > 0
    assert books["second"]["start_flops"] == books["second"]["label_flops"]
    assert "beforehand" in str(result)
    metrics = curricle.evaluate("runs/chain/second/seed-3", metrics=["loss"]).as_dict()["metrics"]
    assert metrics["loss"] == pytest.approx(books["first"]["metrics"]["loss"])
    assert "finished before" in (curricle.run(RECIPE, arms=["second"], seeds=[3]), capsys.readouterr().err)[1]


def test_smoke_tries_a_chain() -> None:
    assert [row["arm"] for row in curricle.run(RECIPE, arms=["second"], seeds=[0], smoke=True).rows] == [
        "first",
        "second",
    ]


def test_a_reference_may_be_an_arm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CURRICLE_CACHE", str(tmp_path / "cache"))
    excess = {"weighting": {"kind": "reference_excess", "reference": "arm:first", "ratio": 0.5}}
    curricle.run(with_arms(other=excess), arms=["other"], seeds=[3])
    books = {arm: read_json(f"runs/chain/{arm}/seed-3/results.json") for arm in ("first", "other")}
    assert not Path("runs/chain/second").exists()
    assert books["other"]["label_flops"] > train_flops(books["first"])
    [about] = (tmp_path / "cache").rglob("reference-losses/*/about.json")
    assert read_json(about)["model"] == "arm:first"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CURRICLE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "runs/chain"


def test_only_the_arms_that_are_named_are_forced(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An arm that another one needs stays; once it is forced itself, the other is told to be of before."""

    def written(arm: str) -> int:
        return (place / arm / "seed-3/model/model.safetensors").stat().st_mtime_ns

    curricle.run(RECIPE, arms=["second"], seeds=[3])
    before = {arm: written(arm) for arm in ("first", "second")}
    curricle.run(RECIPE, arms=["second"], seeds=[3], force=True)
    assert written("first") == before["first"]
    assert written("second") > before["second"]
    capsys.readouterr()
    curricle.run(RECIPE, arms=["second"], seeds=[3])
    assert "on another" not in capsys.readouterr().err

    curricle.run(RECIPE, arms=["first"], seeds=[3], force=True)
    assert written("first") > before["first"]
    os.utime(place / "second/seed-3/results.json", ns=(before["first"], before["first"]))
    capsys.readouterr()
    curricle.run(RECIPE, arms=["second"], seeds=[3])
    assert "second/seed-3: finished before, on another model of arm `first`; --force" in capsys.readouterr().err


def test_without_names_all_arms_are_forced(place: Path) -> None:
    curricle.train(RECIPE, seeds=[3])
    models = [place / arm / "seed-3/model/model.safetensors" for arm in RECIPE["arms"]]
    before = [model.stat().st_mtime_ns for model in models]
    curricle.train(RECIPE, seeds=[3], force=True)
    assert all(model.stat().st_mtime_ns > then for model, then in zip(models, before, strict=True))


def test_an_arm_that_is_needed_and_another_recipes_is_not_thrown_away(place: Path) -> None:
    curricle.train(RECIPE, arms=["first"], seeds=[3])
    other = with_arms(first={"training": {"learning_rate": 0.02}})
    with pytest.raises(RunError, match=r"first/seed-3 holds another recipe.*run with --arms .*first --force"):
        curricle.train(other, arms=["second"], seeds=[3], force=True)
    assert (place / "first/seed-3/model").is_dir()


def test_an_arm_that_is_needed_twice_is_charged_once(place: Path) -> None:
    """`other` starts from `first` and is held against `second`, which started from `first` too."""
    excess = {"kind": "reference_excess", "reference": "arm:second", "ratio": 0.5}
    curricle.train(with_arms(other={"model": {"from_arm": "first"}, "weighting": excess}), arms=["other"], seeds=[3])
    books = {arm: read_json(place / arm / "seed-3/results.json") for arm in RECIPE["arms"]}
    trained: dict[str, Any] = {arm: train_flops(each) for arm, each in books.items()}
    assert books["second"]["start_flops"] == books["second"]["label_flops"] == trained["first"]
    assert books["other"]["start_flops"] == trained["first"] + trained["second"]
    assert books["other"]["label_flops"] > books["other"]["start_flops"]  # its own: the reference's pass over the rows


def test_the_books_tell_what_the_steps_went_through(place: Path) -> None:
    """A critic alone; then beside the tokens, with an old copy of its head that is no part of the model; and a model
    with several heads of which the first one learns alone."""
    rows = [{"prompt": f"what is {i}?", "completion": f"it is {i}", "is_correct": i % 2 == 0} for i in range(12)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"train": "rows.jsonl", "eval": "rows.jsonl", "format": "prompt-completion", "reward_field": "is_correct"}
    heads = {"mtp": {"num_future_tokens": 3}, "shape": {"num_hidden_layers": 4}}
    arms = {
        "critic": {"critic": {"stage": "pretrain"}},
        "joint": {"model": {"from_arm": "critic"}, "critic": {}},
        "heads": {"model": heads},
        "alone": {"model": heads, "weighting": {"later_heads": 0}},
        "pretrain": {"model": heads, "critic": {"stage": "pretrain", "freeze_trunk": False}},
    }
    curricle.train({**deepcopy(RECIPE), "data": {**data, "max_length": 64}, "arms": arms}, seeds=[3])
    sizes = {arm: read_json(place / arm / "seed-3/results.json")["model"] for arm in arms}
    critic, joint, several, alone, pretrain = sizes.values()
    assert (critic["backward_from"], critic["head_learns"]) == ("nowhere", False)
    assert critic["num_trainable"] == critic["num_trainable_body"] == 2 * 16 + 1
    assert (joint["backward_from"], joint["head_learns"], joint["num_heads"]) == ("head", True, 1)
    assert joint["num_trainable"] == joint["num_parameters"] == critic["num_parameters"]
    assert (several["num_heads"], several["num_idle"], several["num_trainable"]) == (3, 0, several["num_parameters"])
    assert (alone["num_heads"], alone["head_learns"], alone["backward_from"]) == (1, True, "head")
    assert alone["num_parameters"] - alone["num_trainable"] == alone["num_idle"] > 0
    assert (pretrain["num_heads"], pretrain["backward_from"]) == (1, "trunk")
    assert pretrain["num_idle"] == alone["num_idle"]
