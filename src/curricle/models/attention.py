"""Attention over packed rows: every document sees itself alone, and no T x T mask is ever built.

A packed row of documents A (3 tokens) and B (2 tokens) and C (1 token):

    token       a0 a1 a2 b0 b1 c0
    position     0  1  2  0  1  0        position_ids, restarting at each document
    doc_lens    [3, 2, 1]                what the attention needs to know

    a0  x . . . . .
    a1  x x . . . .        transformers' own SDPA path computes all 36 scores and masks 26 of them;
    a2  x x x . . .        here each document is one small causal attention, so only the blocks
    b0  . . . x . .        on the diagonal are computed.
    b1  . . . x x .
    c0  . . . . . x

The lengths reach the attention as keyword arguments of the model (`documents`), which transformers hands down to every
layer and which activation checkpointing keeps for its recomputation. Building the mask is suppressed by `packed_rows`.
Importing this file registers the name `curricle_packed` with transformers' two public registries; nothing is patched.
Without lengths (padded batches, generation) the same name behaves as transformers' own `sdpa`.

Shapes: B batch (1 in a packed row), H heads, T tokens of the row, n tokens of one document, D head width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout as drop
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from ..errors import ModelError

PACKED = "curricle_packed"

# What models hand down to their attention and what does not change its result. Anything else might, so it is refused.
HARMLESS = {
    *("position_ids", "seq_idx", "doc_lens", "cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k"),
    *("use_cache", "cache_position", "layer_idx", "num_items_in_batch", "sliding_window", "is_causal"),
    *("return_dict", "output_attentions", "output_hidden_states", "output_router_logits"),
}

_in_packed_rows: ContextVar[bool] = ContextVar("curricle_packed_rows", default=False)


@contextmanager
def packed_rows() -> Iterator[None]:
    """While active, no mask is built for `curricle_packed`: the call brings `documents(...)` instead."""
    token = _in_packed_rows.set(True)
    try:
        yield
    finally:
        _in_packed_rows.reset(token)


def documents(doc_lens: Sequence[int], device: torch.device | str) -> dict[str, Any]:
    """The model arguments that say where documents end: `doc_lens` for ours, `cu_seq_lens` for flash attention."""
    ends = torch.tensor([0, *doc_lens]).cumsum(0, dtype=torch.int32).to(device, non_blocking=True)
    longest = max(doc_lens)
    return {
        "doc_lens": list(doc_lens),
        "cu_seq_lens_q": ends,
        "cu_seq_lens_k": ends,
        "max_length_q": longest,
        "max_length_k": longest,
    }


@contextmanager
def for_model(batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A collated batch as the model's forward takes it, inside the setting its attention needs."""
    if "doc_lens" not in batch:
        yield batch
        return
    inputs = {name: value for name, value in batch.items() if name != "doc_lens"}
    with packed_rows():
        yield inputs | documents(batch["doc_lens"], batch["input_ids"].device)


def packed_mask(**request: Any) -> Tensor | None:
    """The mask of a layer. In packed rows: None for causal ones, an empty tensor as wide as the window for local ones.

    Some families hand the window to the attention, some only put it into the mask; so here the mask carries it, in the
    shape `[1, 1, 0, window]`, which costs nothing. Masks that are neither stay dense, and are obeyed.
    """
    if not _in_packed_rows.get():
        return sdpa_mask(**request)
    if "allow_is_bidirectional_skip" in request:
        raise ModelError("this model looks both ways, which packed rows do not support; set data.packing: none")
    window = request.get("local_size")
    chunked = window is not None and getattr(request.get("config"), "attention_chunk_size", None) is not None
    if request.get("use_vmap") or chunked:
        return sdpa_mask(**request)
    return None if window is None else torch.empty(1, 1, 0, window, dtype=torch.bool, device=request["device"])


class Rule(NamedTuple):
    """How a layer scores: the share it drops, the scale and cap of its scores, how far it looks back."""

    dropout: float = 0.0
    scaling: float | None = None
    softcap: float | None = None
    window: int | None = None


@torch.compiler.disable
def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface: `[B, H, T, D]` in, `[B, T, H, D]` out."""
    lens = document_lengths(kwargs)
    window = attention_mask.shape[-1] if attention_mask is not None and attention_mask.shape[-2] == 0 else None
    rule = Rule(dropout, scaling, softcap, window)
    if lens is None and (window is not None or _in_packed_rows.get()):
        raise _unfit(module, "does not hand document lengths to its attention")
    if lens is None or (attention_mask is not None and window is None):
        return _dense(module, (query, key, value), attention_mask, rule, kwargs)
    _check(module, query, key, lens, kwargs)
    query, key, value = (states.to(_compute_dtype(query)) for states in (query, key, value))
    if _varlen_fits(query, value, rule):
        return _varlen(query, key, value, lens, rule, kwargs.get("cu_seq_lens_q")), None
    # One split per tensor: its backward is one concatenation, where slices would each fill a row of zeros.
    pieces = zip(query.split(lens, 2), key.split(lens, 2), value.split(lens, 2), strict=True)
    return torch.cat([_one_document(q, k, v, rule).transpose(1, 2) for q, k, v in pieces], dim=1), None


def document_lengths(kwargs: dict[str, Any]) -> list[int] | None:
    """`doc_lens` when given (no device sync), else the differences of `cu_seq_lens_q`, as TRL's collator sends them."""
    if kwargs.get("doc_lens") is not None:
        return list(kwargs["doc_lens"])
    ends = kwargs.get("cu_seq_lens_q")
    return None if ends is None else ends.diff().tolist()


def _unfit(module: nn.Module, why: str) -> ModelError:
    return ModelError(f"{type(module).__name__} {why}; set data.packing: none")


def _compute_dtype(query: Tensor) -> torch.dtype:
    """Under autocast rotary positions may leave queries in fp32: one cast here, not one per document."""
    device = query.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else query.dtype


def _check(module: nn.Module, query: Tensor, key: Tensor, lens: list[int], kwargs: dict[str, Any]) -> None:
    unknown = sorted(name for name, value in kwargs.items() if value is not None and name not in HARMLESS)
    if unknown:
        raise _unfit(module, f"passes `{unknown[0]}`, which packed attention cannot honour")
    is_causal = kwargs.get("is_causal")
    if not (getattr(module, "is_causal", True) if is_causal is None else is_causal):
        raise _unfit(module, "is not causal, which packed rows do not support")
    rows, _, tokens, _ = query.shape
    if rows != 1 or tokens != key.shape[2] or sum(lens) != tokens:
        raise ModelError(
            f"doc_lens adds up to {sum(lens)} tokens, but {type(module).__name__} was given {rows} x {tokens} queries "
            f"and {key.shape[2]} keys; a packed row is one row of whole documents, without a cache"
        )


def _one_document(query: Tensor, key: Tensor, value: Tensor, rule: Rule) -> Tensor:
    """One document's causal attention, `[1, H, n, D]`; a window wider than the document is no window."""
    num_tokens = query.shape[2]
    local = rule.window is not None and rule.window < num_tokens
    mask = local_mask(num_tokens, rule.window, query.device) if local or rule.softcap is not None else None
    if rule.softcap is not None:
        return softcapped_attention(query, key, value, mask, rule)
    return scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        dropout_p=rule.dropout,
        is_causal=mask is None,
        scale=rule.scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def local_mask(num_tokens: int, window: int | None, device: torch.device) -> Tensor:
    """`[n, n]`, true where a query sees a key: not the future, and at most `window` tokens, itself included.

    n = 6, window = 3:   x . . . . .
                         x x . . . .
                         x x x . . .
                         . x x x . .
                         . . x x x .
                         . . . x x x
    """
    place = torch.arange(num_tokens, device=device)
    distance = place[:, None] - place[None, :]
    return (distance >= 0) & (distance < (window or num_tokens))


def softcapped_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, rule: Rule) -> Tensor:
    """Scores squeezed into (-softcap, softcap) before the softmax, as Gemma 2 does; no fused CPU kernel has this."""
    assert rule.softcap is not None
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if rule.scaling is None else rule.scaling)
    scores = torch.tanh(scores / rule.softcap) * rule.softcap
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    shares = torch.softmax(scores, dim=-1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(query.dtype)
    return drop(shares, rule.dropout) @ value


def _dense(
    module: nn.Module,
    states: tuple[Tensor, Tensor, Tensor],
    mask: Tensor | None,
    rule: Rule,
    kwargs: dict[str, Any],
) -> tuple[Tensor, None]:
    """No packed row: transformers' own SDPA, and the soft-capped scores it lacks."""
    terms = sorted(name for name in ("s_aux", "position_bias") if kwargs.get(name) is not None)
    if terms:
        raise _unfit(module, f"passes `{terms[0]}`, which {PACKED} cannot honour")
    query, key, value = states
    if rule.softcap is None:
        return sdpa_attention_forward(
            module, query, key, value, mask, dropout=rule.dropout, scaling=rule.scaling, **kwargs
        )
    num_queries = query.shape[2]
    if mask is None and num_queries > 1:
        key, value = key[:, :, :num_queries], value[:, :, :num_queries]
        mask = local_mask(num_queries, None, query.device)
    return softcapped_attention(query, key, value, mask, rule).transpose(1, 2).contiguous(), None


def _varlen_fits(query: Tensor, value: Tensor, rule: Rule) -> bool:
    """torch's own variable-length flash kernel: CUDA, half precision, nothing beside a window."""
    plain = rule.dropout == 0.0 and rule.softcap is None and query.shape[-1] == value.shape[-1] <= 256
    return query.is_cuda and plain and query.dtype in (torch.bfloat16, torch.float16)


def _varlen(query: Tensor, key: Tensor, value: Tensor, lens: list[int], rule: Rule, ends: Tensor | None) -> Tensor:
    """All documents in one kernel. Its window counts the keys left of the query; ours counts the query too."""
    from torch.nn.attention.varlen import varlen_attn

    ends = documents(lens, query.device)["cu_seq_lens_q"] if ends is None else ends
    q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))
    left = -1 if rule.window is None else rule.window - 1
    gqa = query.shape[1] != key.shape[1]
    out = varlen_attn(
        q, k, v, ends, ends, max(lens), max(lens), scale=rule.scaling, window_size=(left, 0), enable_gqa=gqa
    )
    assert isinstance(out, Tensor)
    return out.unsqueeze(0)


AttentionInterface.register(PACKED, packed_attention)
AttentionMaskInterface.register(PACKED, packed_mask)
