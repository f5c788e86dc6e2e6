"""Pooled states against transformers' own, one prompt at a time, packed and padded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from curricle.difficulty.states import StateReader, batches, num_layers, pool
from curricle.errors import ModelError
from support import VOCAB, lora, model

PROMPTS = [
    np.random.default_rng(i).integers(4, VOCAB, length).tolist() for i, length in enumerate((5, 9, 1, 30, 12, 3))
]
PROBE = [7, 8]


def slow_states(net: Any, prompt: list[int], pooling: str) -> torch.Tensor:
    """All blocks but the last, whose state transformers shows behind the final norm only."""
    tokens = prompt + (PROBE if pooling == "probe" else [])
    with torch.no_grad():
        hidden = net(input_ids=torch.tensor([tokens]), output_hidden_states=True).hidden_states[1:-1]
    states_ltd = torch.stack(hidden)[:, 0]
    span = {"last": slice(len(tokens) - 1, None), "mean": slice(None), "probe": slice(len(prompt), None)}[pooling]
    return states_ltd[:, span].mean(1)


@pytest.mark.parametrize("token_budget", [8, 1000])
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
@pytest.mark.parametrize("pooling", ["last", "mean", "probe"])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma2"])
def test_against_one_prompt_at_a_time(kind: str, pooling: Any, packed: bool, token_budget: int) -> None:
    net = model(kind, num_hidden_layers=3).eval()
    expected = torch.stack([slow_states(net, prompt, pooling) for prompt in PROMPTS])
    reader = StateReader(net, pooling, [1, 2], PROBE, token_budget, packed)
    torch.testing.assert_close(reader.read(PROMPTS), expected, atol=1e-5, rtol=1e-4)


def test_the_last_state_has_not_gone_through_the_final_norm() -> None:
    net = model(num_hidden_layers=2).eval()
    with torch.no_grad():
        shown = net(input_ids=torch.tensor([PROMPTS[3]]), output_hidden_states=True).hidden_states[-1][0, -1]
        raw = StateReader(net).read([PROMPTS[3]])[0, -1]
        assert not torch.allclose(raw, shown, atol=1e-3)
        torch.testing.assert_close(net.model.norm(raw), shown, atol=1e-5, rtol=1e-4)


def test_layers_come_in_the_order_asked_for() -> None:
    net = model(num_hidden_layers=3)
    every = StateReader(net).read(PROMPTS)
    some = StateReader(net, layers=[3, 1, 3]).read(PROMPTS)
    assert torch.equal(some, every[:, [2, 0, 2]])


def test_nothing_of_the_model_changes() -> None:
    net = lora(model()).train()
    hooks = sum(len(module._forward_hooks) for module in net.modules())
    reader = StateReader(net)
    assert reader.wanted == [1, 2] == list(range(1, num_layers(net) + 1))
    reader.read(PROMPTS)
    assert net.training
    assert sum(len(module._forward_hooks) for module in net.modules()) == hooks


@pytest.mark.parametrize("packed", [True, False])
def test_batches_keep_to_the_budget_and_take_each_sample_once(packed: bool) -> None:
    lengths = np.random.default_rng(0).integers(1, 50, 200).tolist()
    found = list(batches(lengths, 64, packed))
    assert sorted(i for batch in found for i in batch) == list(range(200))
    for batch in found:
        own = [lengths[i] for i in batch]
        assert sum(own) if packed else max(own) * len(own) <= 64


def test_a_sample_beyond_the_budget_is_alone() -> None:
    assert list(batches([3, 100, 4], 10, True)) == [[1], [2, 0]]


def test_pooling_by_hand() -> None:
    state = torch.arange(12.0).view(1, 6, 2)
    assert pool(state, [(0, 1), (5, 6)]).tolist() == [[0, 1], [10, 11]]
    assert pool(state, [(0, 3), (4, 6)]).tolist() == [[2, 3], [9, 10]]


def test_a_prompt_beyond_the_models_reach_is_refused() -> None:
    net = model(max_position_embeddings=16)
    with pytest.raises(ModelError, match=r"30 tokens.*16 at most; set data.max_length to 16"):
        StateReader(net).read(PROMPTS)
