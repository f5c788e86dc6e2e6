"""Packed rows against each document alone in eager attention; without lengths, against transformers' own attention."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn

from curricle.errors import ModelError
from curricle.models.attention import PACKED, documents, local_mask, packed_attention, packed_rows
from models.families import DOC_LENS, ISOLATED, build, gradients, logits_alone, packed_row, random_tokens

INPUT_IDS = random_tokens(sum(DOC_LENS))


@pytest.mark.parametrize("kind", ISOLATED)
def test_each_document_as_if_alone(kind: str) -> None:
    packed, eager = build(kind, PACKED), build(kind, "eager")
    with packed_rows():
        logits = packed(**packed_row(INPUT_IDS, DOC_LENS)).logits
    alone = logits_alone(eager, INPUT_IDS, DOC_LENS)
    torch.testing.assert_close(logits, alone, rtol=1e-5, atol=2e-6)
    ours, reference = gradients(packed, logits), gradients(eager, alone)
    assert ours.keys() == reference.keys()
    for name, gradient in reference.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-4, atol=2e-5, msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "mistral", "gemma2", "gemma3_text", "phi3"])
def test_activation_checkpointing_changes_nothing(kind: str) -> None:
    model = build(kind, PACKED).train()
    with packed_rows():
        plain = gradients(model, model(**packed_row(INPUT_IDS, DOC_LENS)).logits)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    with packed_rows():
        logits = model(**packed_row(INPUT_IDS, DOC_LENS)).logits
    recomputed = gradients(model, logits)  # outside packed_rows: the recomputation must not need it
    for name, gradient in plain.items():
        assert torch.equal(recomputed[name], gradient), name


@pytest.mark.parametrize("kind", ["llama", "mistral", "gemma2"])
def test_no_square_mask_is_built(kind: str) -> None:
    model, seen = build(kind, PACKED), []
    for layer in model.model.layers:
        layer.self_attn.register_forward_pre_hook(
            lambda _module, _args, kwargs: seen.append(kwargs["attention_mask"]), with_kwargs=True
        )
    with packed_rows():
        model(**packed_row(INPUT_IDS, DOC_LENS))
    assert len(seen) == 2
    assert all(mask is None or mask.numel() == 0 for mask in seen)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma2"])
def test_padded_batches_equal_eager(kind: str) -> None:
    attention_mask = torch.tensor([[1] * 12, [0] * 5 + [1] * 7, [1] * 9 + [0] * 3])
    input_ids = random_tokens(36).view(3, 12)
    logits = [
        build(kind, name)(input_ids=input_ids, attention_mask=attention_mask).logits for name in (PACKED, "eager")
    ]
    real = attention_mask.bool()
    torch.testing.assert_close(logits[0][real], logits[1][real], rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("kind", ["llama", "mistral", "gemma2", "gemma3_text"])
def test_generation_with_left_padding_equals_eager(kind: str) -> None:
    attention_mask = torch.tensor([[1] * 10, [0] * 4 + [1] * 6])
    batch = {"input_ids": random_tokens(20).view(2, 10), "attention_mask": attention_mask}
    how = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    texts = [build(kind, name).generate(**batch, **how) for name in (PACKED, "eager")]
    assert torch.equal(texts[0], texts[1])


@pytest.mark.parametrize("kind", ["llama", "mistral", "gemma2"])
def test_positions_alone_isolate_through_the_dense_mask(kind: str) -> None:
    row = packed_row(INPUT_IDS, DOC_LENS)
    logits = build(kind, PACKED)(input_ids=row["input_ids"], position_ids=row["position_ids"], use_cache=False).logits
    torch.testing.assert_close(logits, logits_alone(build(kind, "eager"), INPUT_IDS, DOC_LENS), rtol=1e-5, atol=2e-6)


def test_lengths_are_also_read_from_cumulative_lengths() -> None:
    model, row = build("llama", PACKED), packed_row(INPUT_IDS, DOC_LENS)
    with packed_rows():
        logits = model(**row).logits
        del row["doc_lens"]
        assert torch.equal(model(**row).logits, logits)


def test_autocast_keeps_documents_apart() -> None:
    model = build("llama", PACKED)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with packed_rows():
            logits = model(**packed_row(INPUT_IDS, DOC_LENS)).logits
        alone = logits_alone(build("llama", "eager"), INPUT_IDS, DOC_LENS)
    torch.testing.assert_close(logits, alone, rtol=0.0, atol=2e-2)


def test_dropout_falls_on_every_document_by_itself() -> None:
    model = build("llama", PACKED, attention_dropout=0.5).train()
    other = torch.cat([random_tokens(7, seed=5), INPUT_IDS[:, 7:]], dim=1)
    logits = []
    for input_ids in (INPUT_IDS, other):
        torch.manual_seed(3)
        with packed_rows():
            logits.append(model(**packed_row(input_ids, DOC_LENS)).logits)
    assert torch.equal(logits[0][:, 7:], logits[1][:, 7:])
    with packed_rows():
        assert not torch.equal(model(**packed_row(other, DOC_LENS)).logits, logits[1])


def test_lora_layers_hand_the_lengths_on() -> None:
    from peft import LoraConfig, get_peft_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model = get_peft_model(build("llama", PACKED), LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear"))
    with packed_rows(), torch.no_grad():
        logits = model(**packed_row(INPUT_IDS, DOC_LENS)).logits
    torch.testing.assert_close(logits, logits_alone(build("llama", "eager"), INPUT_IDS, DOC_LENS), rtol=1e-5, atol=2e-6)


def test_local_mask_is_the_drawn_one() -> None:
    drawn = ["x.....", "xx....", "xxx...", ".xxx..", "..xxx.", "...xxx"]
    expected = torch.tensor([[cell == "x" for cell in line] for line in drawn])
    assert torch.equal(local_mask(6, 3, torch.device("cpu")), expected)
    assert torch.equal(local_mask(6, None, torch.device("cpu")), torch.ones(6, 6, dtype=torch.bool).tril())


def attend(rows: int = 1, num_keys: int = 6, causal: bool = True, **kwargs: Any) -> None:
    module = nn.Module()
    module.is_causal = causal  # type: ignore[assignment]
    query, key = torch.randn(rows, 2, 6, 4), torch.randn(rows, 2, num_keys, 4)
    packed_attention(module, query, key, key.clone(), None, **kwargs)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"doc_lens": [4, 1]}, "adds up to 5 tokens"),
        ({"doc_lens": [4, 2], "rows": 2}, "2 x 6 queries"),
        ({"doc_lens": [4, 2], "num_keys": 8}, "8 keys"),
        ({"doc_lens": [4, 2], "causal": False}, "not causal"),
        ({"doc_lens": [4, 2], "is_causal": False}, "not causal"),
        ({"doc_lens": [4, 2], "s_aux": torch.zeros(2)}, "`s_aux`"),
        ({"doc_lens": [4, 2], "position_bias": torch.zeros(6, 6)}, "`position_bias`"),
        ({"doc_lens": [4, 2], "a_new_term": 1.0}, "`a_new_term`"),
        ({"s_aux": torch.zeros(2)}, "`s_aux`"),
        ({"position_bias": torch.zeros(6, 6), "softcap": 2.0}, "`position_bias`"),
    ],
)
def test_what_cannot_be_honoured_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        attend(**wrong)
    assert "\n" not in str(caught.value)


def test_a_packed_row_without_lengths_is_refused() -> None:
    with packed_rows(), pytest.raises(ModelError, match="does not hand document lengths"):
        attend()
    attend()  # outside it is an ordinary causal batch


def test_documents_say_the_same_in_both_forms() -> None:
    borders = documents([3, 2, 1], "cpu")
    assert borders["doc_lens"] == [3, 2, 1]
    assert borders["cu_seq_lens_q"].tolist() == borders["cu_seq_lens_k"].tolist() == [0, 3, 5, 6]
    assert borders["cu_seq_lens_q"].dtype == torch.int32
    assert borders["max_length_q"] == borders["max_length_k"] == 3
