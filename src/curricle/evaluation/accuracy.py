"""Token accuracy: how often the model, given all before, would itself have put the answer's next token first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..data.rows import Rows
from ..data.table import TokenTable
from ..errors import DataError
from ..models.likelihood import token_hits_of
from .score import Score

if TYPE_CHECKING:
    from torch import nn


def token_accuracy(model: nn.Module, table: TokenTable, rows: Rows, *, batch_size: int = 1) -> list[Score]:
    """Of the supervised tokens of a table, in percent; an example counts by its tokens."""
    hits = token_hits_of(model, table, rows, batch_size=batch_size)
    if not hits.counts.sum():
        raise DataError("no token to score: none of the examples has a token that something comes before")
    sums, counts = 100.0 * hits.sums(), hits.counts
    note = "percent of answer tokens, end of turn included; the first of equal logits counts"
    value, each = float(sums.sum() / counts.sum()), sums / np.maximum(counts, 1)
    return [Score("token_accuracy", value, each, counts, note=note, unit="tokens")]
