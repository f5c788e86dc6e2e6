"""The sources' name and its two ways through the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import curricle
import support
from curricle.errors import ModelError
from curricle.models.mtp.making import add_heads
from curricle.models.value_head import add_value_head

torch.set_num_threads(1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    support.model(num_hidden_layers=4).save_pretrained(tmp_path / "plain")
    return tmp_path / "plain"


def test_the_sources_checklist(folder: Path, tmp_path: Path) -> None:
    """Made, shaped [batch, seq, n_future_tokens, vocab], learning, saved and loaded as safetensors, moved."""
    adapter = curricle.MetaLlamaMTPAdapter.from_pretrained(str(folder), num_future_tokens=4, device="cpu")
    ids = torch.arange(4, 14).view(2, 5)
    logits = adapter.full_forward(ids)
    assert logits.shape == (2, 5, 4, support.VOCAB)
    assert adapter.num_future_tokens == 4
    assert torch.equal(adapter(ids), logits)
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in adapter.parameters())
    adapter.save_pretrained(str(tmp_path / "several"))
    assert [path.name for path in (tmp_path / "several").glob("*.safetensors")] == ["model.safetensors"]
    again = curricle.MetaLlamaMTPAdapter.from_pretrained(str(tmp_path / "several"))
    device = next(again.parameters()).device
    torch.testing.assert_close(again.full_forward(ids.to(device)).cpu(), logits)
    assert {parameter.device.type for parameter in again.to("meta").parameters()} == {"meta"}


def test_the_trunk_is_what_a_value_head_reads() -> None:
    model: Any = add_heads(support.model(num_hidden_layers=4), 2)
    adapter, ids = curricle.MetaLlamaMTPAdapter(model), torch.arange(4, 14).view(2, 5)
    states = adapter.trunk_forward(ids)
    hidden = model.model(input_ids=ids, output_hidden_states=True).hidden_states
    torch.testing.assert_close(states, hidden[-2])
    scores, _ = add_value_head(model)(states)
    assert scores.shape == (2, 5)
    scores.sum().backward()
    assert model.value_head.bias.grad.item() == 10


def test_padding_on_the_left_moves_nothing() -> None:
    model = add_heads(support.model(attn="sdpa", num_hidden_layers=3), 2)
    adapter, ids = curricle.MetaLlamaMTPAdapter(model), torch.arange(4, 10)[None]
    padded = torch.cat([torch.zeros(1, 3, dtype=torch.long), ids], 1)
    mask = (torch.arange(9) >= 3).long()[None]
    torch.testing.assert_close(adapter.full_forward(padded, mask)[:, 3:], adapter.full_forward(ids), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        adapter.trunk_forward(padded, mask)[:, 3:], adapter.trunk_forward(ids), atol=1e-5, rtol=0
    )


def test_a_model_with_one_head_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"given a LlamaForCausalLM, which has one head; take from_pretrained\("):
        curricle.MetaLlamaMTPAdapter.from_pretrained(str(folder))
