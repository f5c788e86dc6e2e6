"""A model with several heads beside the plain model that its first head is."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

import support
from curricle.errors import ModelError
from curricle.models.attention import PACKED, documents, packed_rows
from curricle.models.mtp.configuration import FAMILIES, MtpConfig
from curricle.models.mtp.making import add_heads, plain_state, scratch_config
from curricle.models.mtp.model import MtpForCausalLM
from curricle.models.mtp.trunk import state_of, trunk_of

torch.set_num_threads(1)

KINDS = ["parallel", "sequential"]
HEADS = 3


def plain(kind: str = "llama", attn: str = "sdpa", **shape: Any) -> Any:
    """With weights large enough for every layer to matter."""
    model = support.model(kind, attn, num_hidden_layers=3, **shape)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)
    return model.eval()


def several(kind: str = "parallel", family: str = "llama", **shape: Any) -> Any:
    model = add_heads(plain(family, **shape), HEADS, kind)  # type: ignore[arg-type]
    torch.manual_seed(5)
    with torch.no_grad():  # heads of their own, so that one taken for another shows
        for parameter in model.extra_heads.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def tokens(rows: int = 2, length: int = 11, seed: int = 1) -> Tensor:
    return torch.randint(4, support.VOCAB, (rows, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_head_1_is_the_plain_model_bit_for_bit(family: str, kind: str) -> None:
    model, ids = plain(family), tokens()
    logits = model(input_ids=ids).logits
    written = model.generate(ids, max_new_tokens=6, do_sample=False)
    model = add_heads(model, HEADS, kind)  # type: ignore[arg-type]
    assert torch.equal(model(input_ids=ids).logits, logits)
    assert torch.equal(model(input_ids=ids, all_heads=True).logits[:, :, 0], logits)
    assert torch.equal(model.generate(ids, max_new_tokens=6, do_sample=False), written)


@pytest.mark.parametrize("family", FAMILIES)
def test_parallel_heads_start_as_the_last_layer_and_say_what_it_says(family: str) -> None:
    logits = add_heads(plain(family), HEADS)(input_ids=tokens(), all_heads=True).logits
    assert logits.shape == (2, 11, HEADS, support.VOCAB)
    for head in range(1, HEADS):
        torch.testing.assert_close(logits[:, :, head], logits[:, :, 0])


def test_each_head_is_what_the_plain_model_would_be_with_its_layer_on_top() -> None:
    model, ids = several(), tokens()
    all_heads = model(input_ids=ids, all_heads=True).logits
    for head, layer in enumerate(model.extra_heads, start=1):
        other = plain()
        other.load_state_dict(plain_state(model))
        other.model.layers[-1].load_state_dict(layer.state_dict())
        torch.testing.assert_close(all_heads[:, :, head], other(input_ids=ids).logits)
        assert (all_heads[:, :, head] - all_heads[:, :, 0]).abs().max() > 0.1


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_model_is_loaded_by_transformers_whole(kind: str, tied: bool, tmp_path: Path) -> None:
    model, ids = several(kind, tie_word_embeddings=tied), tokens()
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert isinstance(again, MtpForCausalLM)
    assert isinstance(AutoConfig.from_pretrained(tmp_path), MtpConfig)
    assert again.config.num_future_tokens == HEADS
    assert again.config.kind == kind
    assert torch.equal(again(input_ids=ids, all_heads=True).logits, model(input_ids=ids, all_heads=True).logits)
    assert (again.lm_head.weight is again.get_input_embeddings().weight) == tied
    assert not any(parameter.is_meta for parameter in again.parameters())


def test_a_model_on_the_meta_device_has_every_shape_and_no_number() -> None:
    config = scratch_config(support.nano_config("llama", support.VOCAB, num_hidden_layers=5), HEADS)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert all(parameter.is_meta for parameter in model.parameters())
    real = AutoModelForCausalLM.from_config(config)
    shapes = {name: value.shape for name, value in real.state_dict().items()}
    assert {name: value.shape for name, value in model.state_dict().items()} == shapes


@pytest.mark.parametrize("kind", KINDS)
def test_masks_give_each_head_its_states_and_call_the_output_head_once_for_all(kind: str) -> None:
    model, ids = several(kind), tokens()
    masks = [torch.rand(2, 11, generator=torch.Generator().manual_seed(head)) < 0.5 for head in range(HEADS)]
    seen: list[int] = []
    model.lm_head.register_forward_hook(lambda _, args, __: seen.append(len(args[0])))
    outputs = model(input_ids=ids, logits_to_keep=masks[0], mtp_keep=masks[1:])
    assert seen == [sum(int(mask.sum()) for mask in masks)]
    whole = model(input_ids=ids, all_heads=True).logits
    for head, (mask, logits) in enumerate(zip(masks, (outputs.logits, *outputs.mtp_logits), strict=True)):
        torch.testing.assert_close(logits, whole[:, :, head][mask])
    assert model(input_ids=ids).mtp_logits is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("attn", [PACKED, "sdpa", "eager"])
def test_no_head_sees_another_document_of_a_packed_row(attn: str, kind: str) -> None:
    model = several(kind, attn=attn)
    first, second = tokens(1, 6, seed=2), tokens(1, 7, seed=3)
    positions = torch.cat([torch.arange(6), torch.arange(7)])[None]
    with packed_rows():
        packed = model(
            input_ids=torch.cat([first, second], 1),
            position_ids=positions,
            use_cache=False,
            all_heads=True,
            **(documents([6, 7], torch.device("cpu")) if attn == PACKED else {}),
        ).logits
    for head in range(HEADS):
        for place, ids in ((0, first), (6, second)):
            alone = model(input_ids=ids, all_heads=True).logits[0, :, head]
            real = len(alone) - (head if kind == "sequential" else 0)  # the last ones' token ahead is not there
            torch.testing.assert_close(packed[0, place : place + real, head], alone[:real], atol=1e-5, rtol=1e-5)


def test_the_attention_of_all_heads_is_set_at_once() -> None:
    model = several()
    model.set_attn_implementation("eager")
    layers = [*model.model.layers, *model.extra_heads]
    assert {layer.self_attn.config._attn_implementation for layer in layers} == {"eager"}


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2"])
def test_heads_read_on_from_a_cache(family: str) -> None:
    window = {"sliding_window": 4} if family == "mistral" else {}
    model, ids = several(family=family, **window), tokens()
    whole = model(input_ids=ids, all_heads=True).logits
    cache = model.new_cache()
    parts = [
        model(input_ids=ids[:, start:end], all_heads=True, past_key_values=cache, use_cache=True).logits
        for start, end in ((0, 6), (6, 10), (10, 11))
    ]
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=1e-5)
    assert model(input_ids=ids, all_heads=True, use_cache=True).past_key_values.get_seq_length(HEADS + 1) == 11


def test_a_cache_without_room_or_with_a_gap_is_refused() -> None:
    model, ids = several(), tokens()
    with pytest.raises(ModelError, match=r"no room for the extra heads; make it with the model's new_cache\(\)"):
        model(input_ids=ids, all_heads=True, past_key_values=model(input_ids=ids, use_cache=True).past_key_values)
    cache = model.new_cache()
    model(input_ids=ids, past_key_values=cache)
    with pytest.raises(ModelError, match="has read 11 tokens before these and an extra head 0"):
        model(input_ids=ids[:, :1], all_heads=True, past_key_values=cache)
    with pytest.raises(ModelError, match="sequential heads read tokens ahead"):
        several("sequential")(input_ids=ids, all_heads=True, use_cache=True)


def test_generation_does_not_run_the_extra_heads_or_fill_their_cache() -> None:
    model, ids = several(), tokens()
    for head in model.extra_heads:
        head.register_forward_pre_hook(lambda *_: pytest.fail("an extra head ran"))
    written = model.generate(ids, max_new_tokens=5, do_sample=False, return_dict_in_generate=True)
    assert len(written.past_key_values.layers) == 3


def test_left_padding_changes_no_head() -> None:
    model, ids = several(), tokens(1)
    padded = torch.cat([torch.zeros(1, 4, dtype=torch.long), ids], 1)
    mask = (torch.arange(15) >= 4).long()[None]
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = model(input_ids=padded, attention_mask=mask, position_ids=positions, all_heads=True).logits[:, 4:]
    torch.testing.assert_close(logits, model(input_ids=ids, all_heads=True).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_activation_checkpointing_changes_no_gradient(kind: str, reentrant: bool) -> None:
    model = several(kind).train()
    expected = _gradients(model)
    model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": reentrant})
    if reentrant:
        model.enable_input_require_grads()
    for name, gradient in _gradients(model).items():
        torch.testing.assert_close(gradient, expected[name], msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_an_extra_head_keeps_only_what_enters_it_for_the_backward_pass(kind: str) -> None:
    """What a forward in training saves grows by a few states for each head, not by all that lies in a layer."""

    def saved(num_heads: int) -> int:
        model, kept = add_heads(plain(), num_heads, kind).train(), {}  # type: ignore[arg-type]
        own = {parameter.data_ptr() for parameter in model.parameters()}

        def note(value: Tensor) -> Tensor:
            if value.data_ptr() not in own:
                kept[value.data_ptr(), value.numel()] = value.numel()
            return value

        with torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
            outputs = model(input_ids=tokens(), logits_to_keep=NONE, mtp_keep=[NONE] * (num_heads - 1))
        del outputs
        return sum(kept.values())

    state, ids = 32, tokens()
    layer = saved(2) - saved(1)
    assert layer < (2 if kind == "parallel" else 12) * ids.numel() * state


NONE = torch.zeros(2, 11, dtype=torch.bool)


def _gradients(model: Any) -> dict[str, Tensor]:
    model.zero_grad()
    every = torch.ones(2, 11, dtype=torch.bool)
    outputs = model(input_ids=tokens(), logits_to_keep=every, mtp_keep=[every] * (HEADS - 1), use_cache=False)
    targets = tokens(seed=9).flatten()
    losses = [torch.nn.functional.cross_entropy(part, targets) for part in (outputs.logits, *outputs.mtp_logits)]
    torch.stack(losses).sum().backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_on_all_linear_layers_is_on_the_heads_too(kind: str) -> None:
    model = support.lora(several(kind))
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    ends = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    ends |= {"eh_proj"} if kind == "sequential" else set()
    for head in range(HEADS - 1):
        assert {name.split(".")[-4] for name in trained if f"extra_heads.{head}." in name} == ends
    model(input_ids=tokens(), all_heads=True).logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("kind", KINDS)
def test_layers_to_shard_are_named_by_their_class(kind: str) -> None:
    assert several(kind)._no_split_modules == {"LlamaDecoderLayer"}


def test_the_trunks_state_is_read_once_a_forward() -> None:
    model, ids = several().train(), tokens()
    model.activation_checkpointing_enable()
    states: list[Tensor] = []
    trunk_of(model).register_forward_hook(lambda _, __, output: states.append(state_of(output)))
    every = torch.ones_like(NONE)
    outputs = model(input_ids=ids, logits_to_keep=every, mtp_keep=[NONE] * (HEADS - 1), use_cache=False)
    outputs.logits.sum().backward()
    entered = model.model(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states[-2]
    assert len(states) == 1
    torch.testing.assert_close(states[0], entered)


def test_the_state_of_any_other_model_is_its_decoders_output() -> None:
    model, ids = plain(), tokens()
    states: list[Tensor] = []
    trunk_of(support.lora(model)).register_forward_hook(lambda _, __, output: states.append(state_of(output)))
    logits = model(input_ids=ids).logits
    torch.testing.assert_close(model.lm_head(states[0]), logits)


def test_a_copy_of_a_model_does_not_read_the_original() -> None:
    model, ids = several(), tokens()
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert twin(input_ids=ids, all_heads=True).logits.abs().max() > 0.1


def test_what_is_asked_of_a_forward_must_fit_the_model() -> None:
    model, ids = several(), tokens()
    with pytest.raises(ModelError, match="mtp_keep has 1 masks, but the model has 2 heads beside the first"):
        model(input_ids=ids, logits_to_keep=NONE, mtp_keep=[NONE])
    with pytest.raises(ModelError, match="give head 1's as logits_to_keep"):
        model(input_ids=ids, mtp_keep=[NONE, NONE])
    with pytest.raises(ModelError, match="all_heads gives the logits of every head"):
        model(input_ids=ids, labels=ids, all_heads=True)


@pytest.mark.parametrize("heads", [2, 3])
@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_transformers_drafts_with_the_sequential_heads_of_a_saved_model(
    family: str, heads: int, tmp_path: Path
) -> None:
    """Its own drafting model, made from our files, gives the logits that our head gives; what is written stays."""
    from transformers.modeling_layers import MtpModel

    model, ids = add_heads(plain(family), heads, "sequential"), tokens(1)
    expected = model.generate(ids, max_new_tokens=10, do_sample=False)
    model.save_pretrained(tmp_path)
    saved: Any = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(saved.generate(ids, max_new_tokens=10, do_sample=False, use_mtp=True), expected)
    states = saved(input_ids=ids, output_hidden_states=True).hidden_states[-1][:, :-1]
    drafter = MtpModel.from_pretrained(saved)
    _, drafted, _ = drafter(ids[:, 1:], states, None, torch.arange(1, 11)[None], None)
    torch.testing.assert_close(drafted[:, 0], saved(input_ids=ids, all_heads=True).logits[:, -2, 1])
