"""The probe on real families: isolated, right over a dense mask, refused; and it leaves the model as it was."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers.utils import logging as transformers_logging

from curricle.errors import ModelError
from curricle.models.attention import PACKED, packed_rows
from curricle.models.choose import Choice, choose_attention
from curricle.models.nano import nano_config
from curricle.models.probe import verify_packing
from models.families import DENSE, DOC_LENS, ISOLATED, REFUSED, build, logits_alone, packed_row, random_tokens
from support import mtp


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Some families say at length that their kernels are not installed."""
    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.CRITICAL)
    yield
    transformers_logging.set_verbosity(before)


def proposed(kind: str) -> tuple[Any, Choice]:
    """A model and its attention, as a run gets them."""
    shape = {**ISOLATED, **DENSE, **REFUSED}[kind]
    choice = choose_attention(nano_config(kind, 97, **shape), "cpu", torch.float32, "ordered")
    return build(kind, choice.name), choice


@pytest.mark.parametrize("kind", ISOLATED)
def test_isolated_families_keep_the_packed_attention(kind: str) -> None:
    model, choice = proposed(kind)
    assert verify_packing(model, choice) == choice
    assert choice.name == PACKED


@pytest.mark.parametrize("kind", DENSE)
def test_other_families_fall_back_to_a_dense_mask_and_are_right(kind: str) -> None:
    model, choice = proposed(kind)
    verified = verify_packing(model, choice)
    assert verified.name in ("sdpa", "eager")
    assert model.config._attn_implementation == verified.name
    assert "dense mask" in verified.reason
    input_ids = random_tokens(sum(DOC_LENS))
    with packed_rows(), torch.no_grad():
        logits = model(**packed_row(input_ids, DOC_LENS)).logits
        alone = logits_alone(build(kind, "eager"), input_ids, DOC_LENS)
    torch.testing.assert_close(logits, alone, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("kind", REFUSED)
def test_models_that_cannot_isolate_are_refused_in_one_line(kind: str) -> None:
    model, choice = proposed(kind)
    with pytest.raises(
        ModelError, match=r"^this model cannot isolate packed documents \(.*\); set data.packing: none$"
    ):
        verify_packing(model, choice)


@pytest.mark.parametrize("kind", ["bloom", "gpt_oss", "nemotron", "doge"])
def test_an_attention_that_was_asked_for_is_not_exchanged(kind: str) -> None:
    with pytest.raises(ModelError, match="cannot isolate packed documents"):
        verify_packing(build(kind, PACKED), Choice(PACKED, "asked for", asked=True))


def test_stock_attentions_are_verified_too() -> None:
    for name in ("sdpa", "eager"):
        assert verify_packing(build("llama", "eager"), Choice(name, "asked for", asked=True)).name == name


def test_a_half_precision_model_is_judged_by_its_own_precision() -> None:
    assert verify_packing(build("llama", PACKED).to(torch.bfloat16)).name == PACKED
    with pytest.raises(ModelError, match="moved the next one's logits"):
        verify_packing(build("mamba2", "eager").to(torch.bfloat16))


def test_the_model_is_left_as_it_was() -> None:
    model = build("llama", PACKED, attention_dropout=0.5).train()
    model.model.layers[0].eval()
    modes = [module.training for module in model.modules()]
    model(input_ids=random_tokens(5)).logits.sum().backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    state = torch.random.get_rng_state()
    verify_packing(model)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(gradients[name], p.grad) for name, p in model.named_parameters())


def test_an_adapter_does_not_hide_a_leak() -> None:
    from curricle.models.config import AdapterConfig
    from curricle.models.loading import add_adapter

    assert verify_packing(add_adapter(build("llama", PACKED), AdapterConfig())).name == PACKED
    leaking = add_adapter(build("mamba2", "eager"), AdapterConfig(lora_target_modules=["in_proj"]))
    with pytest.raises(ModelError, match="cannot isolate packed documents"):
        verify_packing(leaking)


@pytest.mark.parametrize("kind", ["parallel", "sequential"])
def test_a_leak_in_a_later_head_alone_is_found(kind: str) -> None:
    """Its layer is handed everything but the documents' lengths."""
    model = mtp(3, kind).eval()
    assert verify_packing(model).name == PACKED
    layer = model.extra_heads[1] if kind == "parallel" else model.extra_heads[1].mtp_block
    known = ("doc_lens", "cu_seq_lens_q")
    layer.self_attn.register_forward_pre_hook(
        lambda _, args, given: (args, {name: value for name, value in given.items() if name not in known}),
        with_kwargs=True,
    )
    assert verify_packing(model).name != PACKED
