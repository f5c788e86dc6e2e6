"""The slow exact way: all logits at once, differentiated by autograd. What every fast path is tested against."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def reference_token_losses(
    hidden_nh: Tensor,
    weight_vh: Tensor,
    targets_n: Tensor,
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
    scale: float | None = None,
) -> Tensor:
    """Cross-entropy of every token from the full logits; runs in any dtype, float64 included."""
    logits_nv = F.linear(hidden_nh, weight_vh, bias)
    return logit_losses(logits_nv, targets_n, softcap=softcap, scale=scale)


def logit_losses(
    logits_nv: Tensor, targets_n: Tensor, *, softcap: float | None = None, scale: float | None = None
) -> Tensor:
    """Cross-entropy of every token from logits that are there already, in float32 or better."""
    logits_nv = logits_nv.to(torch.promote_types(logits_nv.dtype, torch.float32))
    if scale is not None:
        logits_nv = logits_nv * scale
    if softcap is not None:
        logits_nv = softcap * torch.tanh(logits_nv / softcap)
    return F.cross_entropy(logits_nv, targets_n, reduction="none")
