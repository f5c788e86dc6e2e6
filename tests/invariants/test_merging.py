"""Merging, METHODS 9: one-hot weights give the expert and zeros the base, sums are linear and in any order, one expert
is replaced without the others, and the folder is what plain transformers makes of base plus sum."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from curricle.experts.checkpoint import Checkpoint
from curricle.experts.merging import MergeSettings, merge
from curricle.experts.reading import read_difference
from curricle.runtime.quiet import calm_libraries
from experts import made

KINDS = list(made.SHAPES)


@pytest.fixture(scope="module", params=KINDS)
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base, two LoRA experts and two full ones."""
    folder = tmp_path_factory.mktemp(request.param)
    base = made.base(folder / "base", request.param)
    return {
        "base": base,
        "lora": made.adapter(folder / "lora", base, seed=1),
        "other": made.adapter(folder / "other", base, seed=2, r=2),
        "full": made.moved(folder / "full", base, seed=3),
        "whole": made.moved(folder / "whole", base, seed=4),
    }


def weights(folder: Path) -> dict[str, torch.Tensor]:
    read = Checkpoint(folder)
    return {name: read.read(name).clone() for name in read.names}


def merged(models: dict[str, Path], out: Path, asked: dict[str, float], **how: Any) -> dict[str, torch.Tensor]:
    experts = {name: models[name] for name in asked}
    return weights(merge(models["base"], experts, out, weights=asked, **how).folder)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].dtype == other[name].dtype
        assert one[name].equal(other[name]), name


def near(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], tolerance: float = 1e-6) -> None:
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("how", [{}, {"normalize": "sum1"}, {"method": "task_arithmetic"}], ids=str)
def test_one_hot_is_the_expert_bit_for_bit(models: dict[str, Path], tmp_path: Path, how: dict[str, Any]) -> None:
    asked = {"full": 1.0, "whole": 0.0, "lora": 0.0}
    same(merged(models, tmp_path / "out", asked, **how), weights(models["full"]))


def test_one_hot_of_an_adapter_is_what_peft_merges(models: dict[str, Path], tmp_path: Path) -> None:
    found = merged(models, tmp_path / "out", {"lora": 1.0, "full": 0.0})
    theirs = made.merged(models["lora"], models["base"])
    near(found, {name: theirs[name] for name in found})


@pytest.mark.parametrize("method", ["linear", "ties", "dare_linear", "dare_ties"])
def test_zero_weights_are_the_base_bit_for_bit(models: dict[str, Path], tmp_path: Path, method: Any) -> None:
    settings = MergeSettings(density=None if method == "linear" else 0.5, rounding="stochastic")
    asked = {"full": 0.0, "lora": 0.0}
    same(merged(models, tmp_path / "out", asked, method=method, settings=settings), weights(models["base"]))


def test_sum1_is_the_soup(models: dict[str, Path], tmp_path: Path) -> None:
    """If the weights sum to 1 the base cancels."""
    found = merged(models, tmp_path / "out", {"full": 3.0, "whole": 1.0}, normalize="sum1")
    one, other = weights(models["full"]), weights(models["whole"])
    learned = read_difference(models["full"], Checkpoint(models["base"])).names
    near({n: found[n] for n in learned}, {n: 0.75 * one[n] + 0.25 * other[n] for n in learned})


def test_uniform_is_the_mean(models: dict[str, Path], tmp_path: Path) -> None:
    experts = {name: models[name] for name in ("full", "whole", "lora")}
    found = weights(merge(models["base"], experts, tmp_path / "uniform", method="uniform").folder)
    third = dict.fromkeys(experts, 1 / 3)
    same(found, merged(models, tmp_path / "thirds", third))
    near(found, merged(models, tmp_path / "soup", dict.fromkeys(experts, 1.0), normalize="sum1"))


def test_the_order_of_experts_does_not_matter(models: dict[str, Path], tmp_path: Path) -> None:
    asked = {"lora": 0.5, "full": 0.3, "other": -0.2, "whole": 0.9}
    turned = dict(reversed(asked.items()))
    near(merged(models, tmp_path / "a", asked), merged(models, tmp_path / "b", turned))


def test_what_was_added_is_found_again(models: dict[str, Path], tmp_path: Path) -> None:
    """The difference of the merged model is the weighted sum of the differences: merging is linear in the weights."""
    base = Checkpoint(models["base"])
    asked = {"lora": 0.5, "other": 1.5, "full": -0.25}
    merged(models, tmp_path / "out", asked)
    back = read_difference(tmp_path / "out", base)
    parts = {name: read_difference(models[name], base) for name in asked}
    for name in back.names:
        expected = torch.zeros(back.shape(name), dtype=torch.float64)
        for expert, weight in asked.items():
            if name in parts[expert].names:
                expected += weight * parts[expert].dense(name).double()
        torch.testing.assert_close(back.dense(name).double(), expected, rtol=0, atol=1e-6)


def test_adapters_and_their_full_models_merge_alike(models: dict[str, Path], tmp_path: Path) -> None:
    asked = {"lora": 0.7, "other": 0.6}
    full = {name: tmp_path / name for name in asked}
    for name, path in full.items():
        merged(models, path, {name: 1.0})
    low_rank = merged(models, tmp_path / "low", asked)
    near(low_rank, merged({"base": models["base"], **full}, tmp_path / "dense", asked))


def test_one_expert_is_replaced_without_reading_the_others(models: dict[str, Path], tmp_path: Path) -> None:
    """merged + w (new - old): the merged model is the base, and the difference of the two the expert."""
    before = {"full": 0.5, "lora": 0.5}
    merged(models, tmp_path / "before", before)
    wanted = merged(models, tmp_path / "wanted", {"full": 0.5, "other": 0.5})
    step = {"base": tmp_path / "before", "lora": models["lora"], "other": models["other"]}
    near(merged(step, tmp_path / "after", {"other": 0.5, "lora": -0.5}), wanted)


@calm_libraries()
def test_transformers_loads_it_with_the_logits_of_the_sum(models: dict[str, Path], tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    asked = {"lora": 0.5, "full": 0.4}
    merged(models, tmp_path / "out", asked)
    base: Any = AutoModelForCausalLM.from_pretrained(models["base"])
    opened = Checkpoint(models["base"])
    state = base.state_dict()
    for name, weight in asked.items():
        difference = read_difference(models[name], opened)
        for key in difference.names:
            state[key] += weight * difference.dense(key)
    loaded: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert loaded.config.tie_word_embeddings == base.config.tie_word_embeddings
    tokens = torch.arange(24).view(2, 12)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(tokens).logits, base(tokens).logits, rtol=1e-5, atol=1e-5)


def test_a_tied_weight_is_written_once(models: dict[str, Path], tmp_path: Path) -> None:
    found = merged(models, tmp_path / "out", {"full": 0.5})
    base = Checkpoint(models["base"])
    assert list(found) == base.names
    assert not set(base.tied) & set(found)
