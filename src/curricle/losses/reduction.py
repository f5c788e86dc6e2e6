"""The one rule by which token losses become a number to descend:

    loss = sum over heads h of   c_h * sum(w * loss_h) / N_h

N_h counts the supervised tokens of head h over the whole optimizer step: all micro batches of the accumulation, all
ranks. Every token weighs the same, whatever micro batch or rank it fell into; a mean of means would not do that:

    micro batch 1: losses 1 1 1 1      mean 1      mean of means (1 + 3) / 2 = 2
    micro batch 2: losses 3            mean 3      our rule      (4 + 3) / 5 = 1.4

It divides by the number of tokens, not by the sum of their weights, so that lowering every weight lowers the loss.

Each micro batch on each rank gives its share of the sum, and gradients of shares add up. DDP and FSDP take the *mean*
of gradients over ranks, not the sum, so every rank multiplies its share by their number: `world_size`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ..runtime.ranks import all_sum
from .flat import IGNORED

Count = Tensor | float


def count_supervised(labels_bt: Tensor) -> Tensor:
    """How many tokens of a batch are learned; a row's first label has no state before it and does not count."""
    return (labels_bt[..., 1:] != IGNORED).sum()


def count_step(micro_batches: Iterable[Tensor], device: torch.device | str = "cpu") -> Tensor:
    """N of an optimizer step from the labels of this rank's micro batches: summed over them and over ranks."""
    counts = [count_supervised(labels).to(device) for labels in micro_batches]
    return all_sum(torch.stack(counts).sum() if counts else torch.zeros((), dtype=torch.long, device=device))


def reduce_loss(loss_sum: Tensor, count: Count, *, coefficient: float = 1.0, world_size: int = 1) -> Tensor:
    """One head's share: coefficient * sum / count, times the world size. No token anywhere gives zero."""
    at_least_one = count.clamp(min=1) if isinstance(count, Tensor) else max(count, 1)
    return loss_sum / at_least_one * (coefficient * world_size)


def reduce_heads(
    sums: Mapping[str, Tensor],
    counts: Mapping[str, Count],
    coefficients: Mapping[str, float] | None = None,
    *,
    world_size: int = 1,
) -> Tensor:
    """The rule over several heads; a head without a coefficient has 1."""
    coefficients = coefficients or {}
    shares = [
        reduce_loss(sums[head], counts[head], coefficient=coefficients.get(head, 1.0), world_size=world_size)
        for head in sums
    ]
    return torch.stack(shares).sum()
