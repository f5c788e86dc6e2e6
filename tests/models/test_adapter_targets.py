"""The layers named live are live: each of their factors has a gradient, and merging gives the same model."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from curricle.models.adapter_targets import BYPASSED, LIVE, lora_targets
from curricle.models.config import AdapterConfig
from curricle.models.loading import add_adapter
from support import model


def factors(net: Any) -> dict[str, torch.Tensor]:
    return {name: p for name, p in net.named_parameters() if "lora_B" in name}


@pytest.mark.parametrize("kind", LIVE)
def test_every_factor_learns_and_the_merged_model_is_the_same(kind: str) -> None:
    torch.set_num_threads(1)
    net = add_adapter(model(kind, "eager", num_hidden_layers=2), AdapterConfig(lora_r=2)).train()
    tokens = torch.arange(8)[None]
    net(input_ids=tokens, labels=tokens).loss.backward()
    assert len(factors(net)) == 2 * len(LIVE[kind])
    for tensor in factors(net).values():
        assert tensor.grad is not None
        assert tensor.grad.any()
        tensor.data.normal_(std=0.1)
    with torch.no_grad():
        apart = net.eval()(input_ids=tokens).logits
        whole = net.merge_and_unload()(input_ids=tokens).logits
    torch.testing.assert_close(whole, apart, atol=1e-5, rtol=1e-4)


def test_dt_proj_is_read_past_by_transformers() -> None:
    """If this fails, transformers calls the layer now, and it may be named live."""
    from peft import LoraConfig, get_peft_model

    torch.set_num_threads(1)
    base = model("mamba", "eager", num_hidden_layers=1)
    net = get_peft_model(base, LoraConfig(r=2, target_modules=["in_proj", "dt_proj"], task_type="CAUSAL_LM")).train()
    tokens = torch.arange(8)[None]
    net(input_ids=tokens, labels=tokens).loss.backward()
    assert {name.split(".")[-4]: tensor.grad is None for name, tensor in factors(net).items()} == {
        "in_proj": False,
        "dt_proj": True,
    }


def test_other_families_are_asked_for_as_before() -> None:
    net = model("llama")
    for asked in ("all-linear", ["q_proj"], ".*q_proj"):
        assert lora_targets(net, asked) == asked
    assert not {kind for kind in LIVE if set(LIVE[kind]) & set(BYPASSED[kind])}
