"""The heads of a multi-token model in training: what each counts in a step, and what its loss was.

A model with one head passes through untouched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..losses.flat import Metrics
from ..losses.future import count_futures, head_scales
from ..losses.reduction import count_supervised
from ..models.head import Supervised
from ..runtime.ranks import all_sum
from .books import exact


class StepHeads:
    """How many tokens each head learns in an optimizer step, over its micro batches and all ranks."""

    def __init__(self, coefficients: Sequence[float]) -> None:
        self.coefficients = coefficients
        self.scales: Sequence[float] | Tensor = coefficients
        """Of the step that was counted last: see `losses.future.head_scales`."""

    def count(self, micro_batches: Sequence[dict[str, Any]], device: torch.device) -> Tensor:
        """N_1 of the step; the scales of the other heads follow from theirs."""
        num_heads = len(self.coefficients)
        if num_heads == 1:
            local = sum(count_supervised(batch["labels"]) for batch in micro_batches)
            return all_sum(torch.as_tensor(local, device=device))
        local_h = torch.stack([count_futures(batch["labels"], batch, num_heads) for batch in micro_batches]).sum(0)
        count_h = all_sum(local_h.to(device))
        self.scales = head_scales(count_h, self.coefficients)
        return count_h[0]


def head_losses(result: Supervised) -> Metrics:
    """Sum and count of each further head's unweighted losses: `loss_head_2`, ..."""
    return {
        f"loss_head_{h}": (exact(head.loss_n).sum(), len(head.loss_n)) for h, head in enumerate(result.further, start=2)
    }
