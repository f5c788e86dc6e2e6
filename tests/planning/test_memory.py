"""The formula, against what is counted by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from curricle.planning.memory import ModelShape, estimate_memory

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
