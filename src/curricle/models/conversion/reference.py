"""A Llama in Meta's own layout, slowly and in float32: what a converted model's logits must equal.

Nothing here is shared with transformers: neighbours are turned as complex numbers, heads are repeated by hand, and each
weight is cast when it is used.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import silu, softmax

from .layout import MetaWeights

# h [T, dim], logits [T, n, V]: one document of T tokens, n heads


@torch.no_grad()
def reference_logits(weights: MetaWeights, tokens: list[int]) -> Tensor:
    """The logits of every head, [T, n, V]."""
    given, shape = weights.tensors, weights.shape
    h = given["tok_embeddings.weight"][torch.tensor(tokens)].float()
    for i in range(shape.n_layers - 1):
        h = _layer(weights, f"layers.{i}", h)
    heads = [f"layers.{shape.n_layers - 1}", *(f"extra_heads.{i}" for i in range(shape.num_future_tokens - 1))]
    unembedding = given["tok_embeddings.weight" if shape.tied else "output.weight"].float()
    logits = [_normed(_layer(weights, head, h), given["norm.weight"], shape.norm_eps) @ unembedding.T for head in heads]
    return torch.stack(logits, dim=1)


def _layer(weights: MetaWeights, block: str, h: Tensor) -> Tensor:
    def weight(name: str) -> Tensor:
        return weights.tensors[f"{block}.{name}.weight"].float()

    eps = weights.shape.norm_eps
    h = h + _attention(weights, block, _normed(h, weight("attention_norm"), eps))
    x = _normed(h, weight("ffn_norm"), eps)
    return h + (silu(x @ weight("feed_forward.w1").T) * (x @ weight("feed_forward.w3").T)) @ weight("feed_forward.w2").T


def _attention(weights: MetaWeights, block: str, x: Tensor) -> Tensor:
    shape, length = weights.shape, len(x)

    def heads(name: str, count: int) -> Tensor:
        projected = x @ weights.tensors[f"{block}.attention.{name}.weight"].float().T
        return projected.reshape(length, count, shape.head_dim).transpose(0, 1)

    query, key = (
        _turned(heads(name, count), shape.rope_theta)
        for name, count in (("wq", shape.n_heads), ("wk", shape.n_kv_heads))
    )
    shared = shape.n_heads // shape.n_kv_heads
    key, value = (one.repeat_interleave(shared, dim=0) for one in (key, heads("wv", shape.n_kv_heads)))
    scores = query @ key.transpose(1, 2) / shape.head_dim**0.5
    later = torch.ones(length, length, dtype=torch.bool).triu(1)
    mixed = softmax(scores.masked_fill(later, float("-inf")), dim=-1) @ value
    out = weights.tensors[f"{block}.attention.wo.weight"].float()
    return mixed.transpose(0, 1).reshape(length, -1) @ out.T


def _turned(x: Tensor, theta: float) -> Tensor:
    """Neighbours as complex numbers, turned by position times theta ** (-pair / pairs)."""
    _, length, head_dim = x.shape
    pairs = head_dim // 2
    angles = torch.outer(torch.arange(length).double(), theta ** (-torch.arange(pairs).double() / pairs)).float()
    turned = torch.view_as_complex(x.reshape(*x.shape[:2], pairs, 2).contiguous()) * torch.polar(
        torch.ones_like(angles), angles
    )
    return torch.view_as_real(turned).reshape(x.shape)


def _normed(h: Tensor, gain: Tensor, eps: float) -> Tensor:
    return h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + eps) * gain.float()
