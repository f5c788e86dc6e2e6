"""Held-out loss while training: the sum over tokens divided by their number, however the batches fall; of a multi-token
model also each further head's, `loss_head_2` and on."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from ..data.rows import Rows
from ..data.table import TokenTable
from ..models.head import HeadTap, Supervised
from ..models.likelihood import mean_by_domain, token_losses_of
from ..runtime.ranks import all_sum


def heldout_metrics(model: nn.Module, table: TokenTable, rows: Rows, tap: HeadTap, batch_size: int) -> dict[str, Any]:
    """Token-mean loss, perplexity and loss per domain of a table, each example once, over all ranks."""
    heads = _HeadSums(len(tap.coefficients) - 1, next(model.parameters()).device)
    see = heads.see if heads.num else None
    losses = token_losses_of(model, table, rows, batch_size=batch_size, tap=tap, see=see)
    sums, counts = losses.sums(), losses.counts
    loss = float(sums.sum()) / max(1, int(counts.sum()))
    return {
        "loss": loss,
        "perplexity": math.exp(min(loss, 700.0)),
        "tokens": float(counts.sum()),
        "domain_loss": mean_by_domain(sums, counts, table),
        **heads.means(),
    }


class _HeadSums:
    """Sums and counts of the losses of heads 2, 3, ..."""

    def __init__(self, num: int, device: torch.device) -> None:
        self.num = num
        exact = torch.float32 if device.type == "mps" else torch.float64
        self._sums = torch.zeros(2, num, dtype=exact, device=device)

    def see(self, result: Supervised) -> None:
        for place, head in enumerate(result.further):
            self._sums[0, place] += head.loss_n.to(self._sums.dtype).sum()
            self._sums[1, place] += len(head.loss_n)

    def means(self) -> dict[str, float]:
        """Over all ranks; nothing of a head for which no document was long enough."""
        if not self.num:
            return {}
        sums, counts = all_sum(self._sums).tolist()
        pairs = enumerate(zip(sums, counts, strict=True), start=2)
        return {f"loss_head_{h}": total / count for h, (total, count) in pairs if count}
