"""The heads of a multi-token model in training: what each counts in a step, and what its loss was.

A model with one head passes through untouched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..losses.flat import Metrics
from ..losses.future import count_futures, head_scales
from ..losses.reduction import count_supervised
from ..models.head import Supervised
from ..runtime.progress import say
from ..runtime.ranks import all_sum
from ..weighting.base import LaterHeads
from .books import exact


class StepHeads:
    """How many tokens each head learns in an optimizer step, over its micro batches and all ranks."""

    def __init__(self, coefficients: Sequence[float], later: LaterHeads = 1.0) -> None:
        self.alone = _never(later)
        """Head 1 learns, and the others stay as they are."""
        self.coefficients = coefficients[:1] if self.alone else coefficients
        """Of the heads that learn."""
        self.later = later
        self.scales: Sequence[float] | Tensor = self.coefficients
        """Of the step that was counted last: see `losses.future.head_scales`."""

    def count(self, micro_batches: Sequence[dict[str, Any]], device: torch.device, progress: float) -> Tensor:
        """N_1 of the step; the scales of the other heads follow from theirs."""
        num_heads = len(self.coefficients)
        if num_heads == 1:
            local = sum(count_supervised(batch["labels"]) for batch in micro_batches)
            return all_sum(torch.as_tensor(local, device=device))
        local_h = torch.stack([count_futures(batch["labels"], batch, num_heads) for batch in micro_batches]).sum(0)
        count_h = all_sum(local_h.to(device))
        first, *others = self.coefficients
        factor = factor_at(self.later, progress)
        self.scales = head_scales(count_h, [first, *(factor * each for each in others)])
        return count_h[0]

    def left_alone(self, model: nn.Module) -> set[str]:
        """The other heads where head 1 learns alone: to be frozen."""
        others = {name for name, _ in model.named_parameters() if "extra_heads." in name}
        if not self.alone or not others:
            return set()
        say("weighting.later_heads is 0: head 1 learns alone, the other heads stay as they are")
        return others


def _never(later: LaterHeads) -> bool:
    """Whether the factor is 0 from the first step to the last."""
    return not any([later] if isinstance(later, (int, float)) else [factor for _, factor in later])


def factor_at(later: LaterHeads, progress: float) -> float:
    """The factor that holds when `progress` (0 to 1) of the run is done."""
    if isinstance(later, (int, float)):
        return later
    return [factor for share, factor in later if share <= progress + 1e-9][-1]


def head_losses(result: Supervised) -> Metrics:
    """Sum and count of each further head's unweighted losses: `loss_head_2`, ..."""
    return {
        f"loss_head_{h}": (exact(head.loss_n).sum(), len(head.loss_n)) for h, head in enumerate(result.further, start=2)
    }
