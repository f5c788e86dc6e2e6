"""The formula, against what is counted by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from curricle.planning.memory import ModelShape, estimate_memory, mamba2_block, mamba_block

WHOLE = ModelShape(
    num_parameters=1_000_000,
    num_linear=800_000,
    num_added=0,
    num_trainable=1_000_000,
    num_layers=2,
    hidden=64,
    intermediate=128,
    kv_width=32,
    vocab=1000,
)
LORA = replace(WHOLE, num_added=10_000, num_trainable=10_000)


def test_full_training_in_fp32() -> None:
    memory = estimate_memory(WHOLE, 100)
    assert (memory.parameters, memory.gradients, memory.optimizer) == (4_000_000, 4_000_000, 8_000_000)
    assert memory.activations == 100 * 4 * 2 * (6 * 64 + 2 * 32 + 4 * 128)
    assert memory.logits == 100 * 1000 * 4


def test_factors_are_fp32_beside_frozen_bfloat16_weights() -> None:
    memory = estimate_memory(LORA, 100, weight_bytes=2)
    assert (memory.parameters, memory.gradients, memory.optimizer) == (2_000_000 + 40_000, 40_000, 80_000)


def test_four_bits_are_half_a_byte_and_the_scales() -> None:
    memory = estimate_memory(LORA, 100, weight_bytes=2, nf4=True)
    scales = 800_000 / 64 + 800_000 / 64 / 256 * 4
    assert memory.parameters == pytest.approx(400_000 + scales + 200_000 * 4 + 40_000, abs=1)
    assert memory.gradients == 40_000


def test_shards_divide_all_but_activations() -> None:
    one, four = (estimate_memory(WHOLE, 100, shards=shards) for shards in (1, 4))
    assert (four.parameters, four.gradients, four.optimizer) == (1_000_000, 1_000_000, 2_000_000)
    assert (four.activations, four.logits) == (one.activations, one.logits)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("mamba", {"hidden_size": 32, "intermediate_size": 64, "state_size": 8}),
        ("mamba", {"hidden_size": 64, "intermediate_size": 128, "state_size": 16}),
        ("mamba2", {"hidden_size": 32, "head_dim": 16, "state_size": 8, "chunk_size": 32}),
        ("mamba2", {"hidden_size": 64, "head_dim": 16, "state_size": 64, "chunk_size": 64}),
    ],
)
def test_a_mamba_block_is_what_autograd_keeps(kind: str, shape: dict[str, Any]) -> None:
    two, one = (_kept(kind, {**shape, "num_hidden_layers": layers}) for layers in (2, 1))
    hidden, state = shape["hidden_size"], shape["state_size"]
    if kind == "mamba":
        expected = mamba_block(hidden, shape["intermediate_size"], state)
    else:
        expected = mamba2_block(2 * hidden, state, 2 * hidden // shape["head_dim"], shape["chunk_size"])
    assert expected == pytest.approx(two - one, rel=0.1)


def _kept(kind: str, shape: dict[str, Any], num_tokens: int = 64) -> float:
    """Numbers a token that a forward pass keeps beside the weights."""
    from transformers import AutoModelForCausalLM

    from curricle.models.nano import nano_config

    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_config(nano_config(kind, 64, **shape)).train()
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(input_ids=torch.arange(num_tokens)[None] % 60).logits.sum()
    assert loss.requires_grad
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) / 4 / num_tokens
