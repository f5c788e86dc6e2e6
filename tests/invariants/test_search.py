"""METHODS 9, mixtures: weights of 0 are the base bit for bit, setting is exact and repeatable, one expert alone is that
expert, the result is linear in the weights, no order matters: Llama, Qwen2 and Mamba-2, tied and not."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import mixtures
import support
from curricle.errors import RecipeError
from curricle.experts.search.mixture import Mixture, weights_to_apply

MAMBA2 = {"num_heads": 4, "head_dim": 16, "state_size": 8, "n_groups": 1, "chunk_size": 8, "expand": 2}
KINDS: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama-untied": {"tie_word_embeddings": False},
    "qwen2": {},
    "mamba2": MAMBA2,
}
ENDS = ("_proj.weight", "embed_tokens.weight", "embeddings.weight")


def made(kind: str) -> tuple[Any, dict[str, Any]]:
    shape = KINDS[kind]
    attn = {"attn": None} if kind == "mamba2" else {}
    model = support.model(kind.split("-")[0], **attn, **shape)
    whole = ("norm.weight", "norm_f.weight", "A_log", "conv1d.weight", "conv1d.bias")
    return model, {
        "a": mixtures.expert(model, 1, ends=ENDS),
        "b": mixtures.expert(model, 2, rank=4, ends=ENDS, whole=whole),
        "c": mixtures.expert(model, 3, ends=("in_proj.weight", "q_proj.weight")),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_set_twice_is_the_same_and_zero_is_the_base(kind: str) -> None:
    model, differences = made(kind)
    base = mixtures.state(model)
    weights = {"a": 0.3, "b": 0.8, "c": -0.2}
    with Mixture(model, differences) as mixture:
        mixture.set(weights)
        first = mixtures.state(model)
        assert not mixtures.same(base, first)
        mixture.set({"a": 1.4, "b": -3.0, "c": 0.1})
        mixture.set(weights)
        assert mixtures.same(first, model.state_dict())
        mixture.set(dict.fromkeys(weights, 0.0))
        assert mixtures.same(base, model.state_dict())
        mixture.set({"b": 1.0})
    assert mixtures.same(base, model.state_dict())


def test_the_base_is_back_after_a_mistake() -> None:
    model, differences = made("llama")
    base = mixtures.state(model)

    def go_wrong() -> None:
        with Mixture(model, differences) as mixture:
            mixture.set({"a": 1.0})
            assert not mixtures.same(base, model.state_dict())
            mixture.set({"nobody": 1.0})

    with pytest.raises(RecipeError):
        go_wrong()
    assert mixtures.same(base, model.state_dict())


@pytest.mark.parametrize("kind", KINDS)
def test_one_expert_alone_is_that_expert(kind: str) -> None:
    model, differences = made(kind)
    base = mixtures.state(model)
    with Mixture(model, differences) as mixture:
        for name, one in differences.items():
            mixture.set({name: 1.0})
            found = model.state_dict()
            for tensor in one.names:
                torch.testing.assert_close(found[tensor], base[tensor] + one.dense(tensor), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_linear_in_the_weights_and_no_order_matters(kind: str) -> None:
    model, differences = made(kind)
    base = mixtures.state(model)
    weights = {"a": 0.3, "b": 0.8, "c": -0.2}
    with Mixture(model, differences) as mixture:
        mixture.set(weights)
        once = mixtures.state(model)
        mixture.set({name: 2 * weight for name, weight in weights.items()})
        twice = mixtures.state(model)
    for name, tensor in base.items():
        torch.testing.assert_close(twice[name] - tensor, 2 * (once[name] - tensor), rtol=1e-4, atol=2e-6)
    with Mixture(model, dict(reversed(differences.items()))) as mixture:
        mixture.set(weights)
        for name, tensor in once.items():
            torch.testing.assert_close(model.state_dict()[name], tensor, rtol=1e-6, atol=1e-6)


def test_weights_over_their_sum_are_a_mean_of_the_experts() -> None:
    """sum1: the base cancels, and what is left is sum of w_i times expert i (the source's soup)."""
    model, differences = made("llama")
    base = mixtures.state(model)
    weights = weights_to_apply({"a": 2.0, "b": 1.0, "c": 1.0}, "sum1")
    assert weights == {"a": 0.5, "b": 0.25, "c": 0.25}
    with Mixture(model, differences) as mixture:
        mixture.set(weights)
        for tensor in differences["a"].names:
            experts = {
                name: base[tensor] + (one.dense(tensor) if tensor in one.names else 0)
                for name, one in differences.items()
            }
            soup = sum(weights[name] * expert for name, expert in experts.items())
            torch.testing.assert_close(model.state_dict()[tensor], soup, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_set_is_what_the_model_computes(kind: str) -> None:
    """A mixture in place and a model that was loaded with the summed weights give the same logits."""
    model, differences = made(kind)
    other, _ = made(kind)
    tokens = torch.arange(4, 20)[None]
    weights = {"a": 0.3, "b": 0.8, "c": -0.2}
    for name, one in differences.items():
        for tensor in one.names:
            other.get_parameter(tensor).data += weights[name] * one.dense(tensor)
    with Mixture(model, differences) as mixture, torch.no_grad():
        mixture.set(weights)
        torch.testing.assert_close(model.eval()(tokens).logits, other.eval()(tokens).logits, rtol=1e-4, atol=1e-4)
