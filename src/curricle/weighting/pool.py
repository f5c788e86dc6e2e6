"""Among which tokens a choice or a mean is made.

    micro_batch   the tokens of one micro batch on one rank
    rank          those that this rank has seen in the optimizer step so far: the pool grows over the accumulation
    global        the tokens of the micro batch over all ranks, in the order that one process would have them

An accumulation is never looked through beforehand: that would cost a second forward pass of all its micro batches.
With `global`, N ranks choose what one rank with N times the rows chooses.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..runtime.ranks import all_rows

Scope = Literal["micro_batch", "rank", "global"]


class Pool:
    """Widens a micro batch's numbers to those of its scope."""

    def __init__(self, scope: Scope = "micro_batch") -> None:
        self.scope = scope
        self._step, self._seen = -2, list[Tensor]()

    def widen(self, values_n: Tensor, step: int) -> tuple[Tensor, slice]:
        """The numbers of all tokens in the scope, and which of them are the micro batch's own."""
        if self.scope == "global":
            pool, start = all_rows(values_n)
            return pool, slice(start, start + len(values_n))
        if self.scope == "micro_batch":
            return values_n, slice(0, len(values_n))
        if step != self._step:
            self._step, self._seen = step, []
        self._seen.append(values_n)
        pool = torch.cat(self._seen)
        return pool, slice(len(pool) - len(values_n), len(pool))


def to_mean_one(weights_n: Tensor, pool: Pool, step: int) -> Tensor:
    """Weights divided by their mean over the pool; all zero stay zero."""
    pooled, _ = pool.widen(weights_n, step)
    mean = pooled.mean(0) if len(pooled) else pooled.new_ones(pooled.shape[1:])
    return weights_n / torch.where(mean > 0, mean, 1.0)
