"""METHODS 11.4, as far as the model goes: packing changes nothing but where a document stands.

The packed summed loss is the sum of the losses alone, gradients too; a document does not notice its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from curricle.models.attention import PACKED, packed_rows
from models.families import DOC_LENS, build, packed_row, random_tokens

KINDS = ["llama", "qwen2", "mistral", "gemma2", "gemma3_text", "phi3", "mixtral"]
LENS = [n for n in DOC_LENS if n > 1]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def summed_loss(logits: Tensor, input_ids: Tensor, doc_lens: list[int]) -> Tensor:
    """Next-token cross-entropy over all documents; the first token of each is nobody's target."""
    total = logits.new_zeros(())
    for logits_nv, tokens_n in zip(logits[0].split(doc_lens), input_ids[0].split(doc_lens), strict=True):
        total = total + torch.nn.functional.cross_entropy(logits_nv[:-1], tokens_n[1:], reduction="sum")
    return total


def packed_logits(model: Any, input_ids: Tensor, doc_lens: list[int]) -> Tensor:
    with packed_rows():
        return model(**packed_row(input_ids, doc_lens)).logits


@pytest.mark.parametrize("kind", KINDS)
def test_packed_loss_is_the_sum_of_the_losses_alone(kind: str) -> None:
    """In fp64, to 1e-10, value and gradient.

    Both go through the plain (math) kernel: eager attention would round its softmax to fp32. Gemma 2, which has no
    other stock attention, is compared with our own path on unpacked batches; that equals eager by tests/models.
    """
    model, input_ids = build(kind, PACKED, experts_implementation="eager").double(), random_tokens(sum(LENS))
    with sdpa_kernel(SDPBackend.MATH):
        packed = summed_loss(packed_logits(model, input_ids, LENS), input_ids, LENS)
        packed.backward()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
        model.zero_grad(set_to_none=True)
        model.set_attn_implementation("sdpa" if model._supports_sdpa else PACKED)
        alone = torch.zeros((), dtype=torch.float64)
        for tokens in input_ids.split(LENS, 1):
            alone = alone + summed_loss(model(input_ids=tokens, use_cache=False).logits, tokens, [tokens.shape[1]])
        alone.backward()
    torch.testing.assert_close(packed, alone, rtol=1e-10, atol=0.0)
    for name, p in model.named_parameters():
        # Gemma's norms cast their weight to fp32, so its gradient is summed over tokens in fp32, packed or not.
        allowed = 1e-6 if kind.startswith("gemma") and "norm" in name else 1e-10
        torch.testing.assert_close(
            gradients[name], p.grad, rtol=allowed, atol=allowed, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("kind", KINDS)
def test_packed_loss_in_half_precision(kind: str) -> None:
    model, input_ids = build(kind, PACKED), random_tokens(sum(LENS))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        packed = summed_loss(packed_logits(model, input_ids, LENS).float(), input_ids, LENS)
        model.set_attn_implementation("eager")
        pieces = input_ids.split(LENS, 1)
        alone = sum(summed_loss(model(input_ids=x, use_cache=False).logits.float(), x, [x.shape[1]]) for x in pieces)
    torch.testing.assert_close(packed, alone, rtol=1e-2, atol=0.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", range(len(LENS)))
def test_a_document_does_not_notice_its_neighbours(kind: str, kept: int) -> None:
    """Every other document is exchanged, for others of other lengths too: the kept one's logits stay, bit for bit."""
    model, input_ids = build(kind, PACKED), random_tokens(sum(LENS))
    start = sum(LENS[:kept])
    own = slice(start, start + LENS[kept])
    others = random_tokens(sum(LENS), seed=9)
    others[:, own] = input_ids[:, own]
    with torch.no_grad():
        before = packed_logits(model, input_ids, LENS)[:, own]
        exchanged = packed_logits(model, others, LENS)[:, own]
        longer = torch.cat([random_tokens(5, seed=4), others[:, own], random_tokens(2, seed=5)], dim=1)
        elsewhere = packed_logits(model, longer, [5, LENS[kept], 2])[:, 5 : 5 + LENS[kept]]
    # Routed experts compute in groups, whose sizes the neighbours change: there, to rounding.
    exact = {"rtol": 0.0, "atol": 0.0 if kind != "mixtral" else 1e-6}
    torch.testing.assert_close(exchanged, before, **exact)
    torch.testing.assert_close(elsewhere, before, rtol=1e-5, atol=1e-6)
