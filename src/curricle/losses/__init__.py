"""Per-token losses without full logits, and the one rule of reduction. Pure tensor functions."""

from .flat import FlatTokens, flatten, keep_mask
from .future import count_futures, future_masks, head_scales
from .reduction import count_step, count_supervised, reduce_heads, reduce_loss
from .reference import logit_losses, reference_token_losses
from .token_losses import token_losses, weighted_loss

__all__ = [
    "FlatTokens",
    "count_futures",
    "count_step",
    "count_supervised",
    "flatten",
    "future_masks",
    "head_scales",
    "keep_mask",
    "logit_losses",
    "reduce_heads",
    "reduce_loss",
    "reference_token_losses",
    "token_losses",
    "weighted_loss",
]
