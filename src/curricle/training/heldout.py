"""Held-out loss while training: the sum over tokens divided by their number, however the batches fall."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from ..data.rows import Rows
from ..data.table import TokenTable
from ..models.head import HeadTap
from ..models.likelihood import mean_by_domain, token_losses_of


def heldout_metrics(model: nn.Module, table: TokenTable, rows: Rows, tap: HeadTap, batch_size: int) -> dict[str, Any]:
    """Token-mean loss, perplexity and loss per domain of a table, each example once, over all ranks."""
    losses = token_losses_of(model, table, rows, batch_size=batch_size, tap=tap)
    sums, counts = losses.sums(), losses.counts
    loss = float(sums.sum()) / max(1, int(counts.sum()))
    return {
        "loss": loss,
        "perplexity": math.exp(min(loss, 700.0)),
        "tokens": float(counts.sum()),
        "domain_loss": mean_by_domain(sums, counts, table),
    }
