"""A mixture in place is the dense sum, twice the same bits, and the base again afterwards."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import mixtures
import support
from curricle.errors import ModelError, RecipeError
from curricle.experts.difference import Factors
from curricle.experts.search.mixture import Mixture, weights_to_apply

WEIGHTS = {"a": 0.7, "b": -0.4, "c": 1.3}


def experts(model: Any) -> dict[str, Any]:
    """Of unlike ranks and targets: factors only, factors and whole tensors, whole tensors only."""
    return {
        "a": mixtures.expert(model, 1, rank=3),
        "b": mixtures.expert(model, 2, rank=5, ends=("q_proj.weight", "embed_tokens.weight"), whole=("norm.weight",)),
        "c": mixtures.expert(model, 3, ends=(), whole=("up_proj.weight", "norm.weight")),
    }


def dense_sum(model: Any, differences: dict[str, Any], weights: dict[str, float]) -> dict[str, torch.Tensor]:
    """The slow reference, in float64."""
    expected = {name: tensor.double() for name, tensor in mixtures.state(model).items()}
    for name, one in differences.items():
        for tensor in one.names:
            expected[tensor] += weights.get(name, 0.0) * one.dense(tensor).double()
    return expected


@pytest.mark.parametrize("tied", [True, False])
def test_weights_are_the_dense_sum(tied: bool) -> None:
    model = support.model(tie_word_embeddings=tied)
    differences = experts(model)
    expected = dense_sum(model, differences, WEIGHTS)
    if tied:
        expected["lm_head.weight"] = expected["model.embed_tokens.weight"]
    with Mixture(model, differences) as mixture:
        mixture.set(WEIGHTS)
        for name, tensor in model.state_dict().items():
            torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-5, atol=1e-6, msg=name)


def test_half_precision_is_rounded_once() -> None:
    model = support.model().bfloat16()
    differences = experts(model)
    expected = dense_sum(model, differences, WEIGHTS)
    with Mixture(model, differences) as mixture:
        mixture.set(WEIGHTS)
        for name in differences["a"].names:
            found, exact = model.state_dict()[name], expected[name]
            assert found.dtype == torch.bfloat16
            assert ((found.double() - exact).abs() <= exact.abs() * 2**-8 + 1e-6).all(), name


def test_a_tied_tensor_counts_once_under_two_names() -> None:
    model = support.model(tie_word_embeddings=True)
    weight = model.get_input_embeddings().weight
    before, change = weight.detach().clone(), torch.randn(weight.shape)
    parts = {"model.embed_tokens.weight": change, "lm_head.weight": change.clone()}
    with Mixture(model, {"a": mixtures.difference("a", parts)}) as mixture:
        mixture.set({"a": 0.5})
        torch.testing.assert_close(weight.detach(), before + 0.5 * change)
    other = mixtures.difference("a", {**parts, "lm_head.weight": 2 * change})
    with pytest.raises(ModelError, match=r"ties `model.embed_tokens.weight` and `lm_head.weight`.*differently"):
        Mixture(model, {"a": other})


def test_the_head_of_a_tied_model_is_the_embedding() -> None:
    model = support.model(tie_word_embeddings=True)
    change = torch.randn(model.get_input_embeddings().weight.shape)
    with Mixture(model, {"a": mixtures.difference("a", {"lm_head.weight": change})}) as mixture:
        before = model.get_input_embeddings().weight.detach().clone()
        mixture.set({"a": 1.0})
        torch.testing.assert_close(model.get_input_embeddings().weight.detach(), before + change)


def test_tensors_that_are_zero_are_not_kept() -> None:
    model = support.model()
    parts = {name: torch.zeros(tensor.shape) for name, tensor in model.named_parameters()}
    parts["model.norm.weight"] = torch.ones(32)
    with Mixture(model, {"a": mixtures.difference("a", parts)}) as mixture:
        assert [tensor.name for tensor in mixture._touched] == ["model.norm.weight"]


def test_the_fingerprint_follows_base_and_experts() -> None:
    model = support.model()
    prints = [
        Mixture(model, {"a": mixtures.expert(model, 1)}).fingerprint(),
        Mixture(model, {"a": mixtures.expert(model, 2)}).fingerprint(),
        Mixture(model, {"b": mixtures.expert(model, 1)}).fingerprint(),
        Mixture(support.model(seed=1), {"a": mixtures.expert(model, 1)}).fingerprint(),
    ]
    assert len(set(prints)) == 4
    again = Mixture(model, {"a": mixtures.expert(model, 1)})
    again.set({"a": 1.0})
    assert again.fingerprint() == prints[0]


@pytest.mark.parametrize(
    ("name", "part", "line"),
    [
        ("model.layers.7.mlp.up_proj.weight", torch.zeros(2, 2), r"which the base lacks \(did you mean"),
        ("model.norm.weight", torch.zeros(33), r"of shape \[33\], and the base's is \[32\]"),
        (
            "model.layers.0.mlp.up_proj.weight",
            Factors(torch.zeros(64, 2), torch.zeros(2, 16)),
            r"\[64, 16\].*\[64, 32\]",
        ),
        ("model.norm.weight", torch.full((32,), torch.nan), "NaN or an infinite number"),
    ],
)
def test_an_expert_of_another_shape_is_refused(name: str, part: Any, line: str) -> None:
    with pytest.raises(ModelError, match=line):
        Mixture(support.model(), {"a": mixtures.difference("a", {name: part})})


def test_weights_of_nobody_are_refused() -> None:
    model = support.model()
    with Mixture(model, {"law": mixtures.expert(model, 1)}) as mixture, pytest.raises(RecipeError, match="`law`"):
        mixture.set({"low": 1.0})
    with pytest.raises(RecipeError, match="no experts"):
        Mixture(model, {})


@pytest.mark.parametrize(("weights", "line"), [({"a": 0.0, "b": 0.0}, "sum to 0"), ({"a": float("nan")}, "is nan")])
def test_weights_that_cannot_be_applied(weights: dict[str, float], line: str) -> None:
    with pytest.raises(RecipeError, match=line):
        weights_to_apply(weights, "sum1")
