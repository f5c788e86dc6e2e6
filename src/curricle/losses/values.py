"""How far a critic's values are from what came of it: one loss per state.

The target of a state is the reward of its document: what came of it in the end. With an old value at hand, a value is
not rewarded for moving further from it than `clip`:

    loss = max(l(V), l(V_old + clamp(V - V_old, -clip, clip)))

so that there is no gradient once V has moved so far towards the target.

Suffixes: n supervised tokens.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

ValueLoss = Literal["mse", "huber", "bce"]


def value_losses(
    score_n: Tensor,
    target_n: Tensor,
    loss: ValueLoss = "mse",
    *,
    bounded: bool = False,
    old_n: Tensor | None = None,
    clip: float | None = None,
    delta: float = 1.0,
) -> Tensor:
    """loss_n: half the square, Huber's (half the square up to `delta`, then linear), or cross-entropy.

    `score_n` are values; of a bounded head their logits, which cross-entropy takes as they are. `old_n` are values.
    """
    value_n = score_n.sigmoid() if bounded else score_n
    if loss == "bce":
        free_n = F.binary_cross_entropy_with_logits(score_n, target_n, reduction="none")
    else:
        free_n = _distance(value_n, target_n, loss, delta)
    if old_n is None or clip is None:
        return free_n
    near_n = old_n + (value_n - old_n).clamp(-clip, clip)
    return torch.maximum(free_n, _distance(near_n, target_n, loss, delta))


def _distance(value_n: Tensor, target_n: Tensor, loss: ValueLoss, delta: float) -> Tensor:
    if loss == "bce":
        return F.binary_cross_entropy(value_n, target_n, reduction="none")
    if loss == "huber":
        return F.huber_loss(value_n, target_n, reduction="none", delta=delta)
    return 0.5 * (value_n - target_n).square()


def num_clipped(value_n: Tensor, old_n: Tensor, clip: float) -> Tensor:
    """How many values have moved further from the old ones than `clip`."""
    return ((value_n - old_n).abs() > clip).sum()
