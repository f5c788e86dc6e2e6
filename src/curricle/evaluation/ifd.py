"""The mean IFD of a held-out set: how much of its answers their prompts do not explain (`models.ifd`).

Examples without a prompt, or without two tokens to score, are left out of the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..data.rows import Rows
from ..data.table import TokenTable
from ..errors import DataError
from ..models.ifd import FEWEST, answer_head, ifd_ratios
from .answers import last_answers
from .score import Score

if TYPE_CHECKING:
    from torch import nn

__all__ = ["answer_head", "ifd", "ifd_ratios"]


def ifd(
    model: nn.Module, table: TokenTable, rows: Rows, *, head: Sequence[int] = (), batch_size: int = 1
) -> list[Score]:
    """The mean over examples; of a dialogue with several answers the last is taken, and all before is its prompt."""
    pairs = last_answers(table)
    ratios = ifd_ratios(model, pairs, rows, head=head, batch_size=batch_size)
    known = np.isfinite(ratios)
    if not known.any():
        raise DataError(
            f"ifd needs a prompt, and an answer of {FEWEST} tokens or more that something comes before; none of the "
            f"{len(table)} rows of `data.eval` has both"
        )
    note = (
        f"mean over {known.sum()} examples of loss with the prompt / loss after {len(head)} tokens that begin every "
        f"answer; {(~known).sum()} left out, for lack of a prompt or of two tokens to score"
    )
    value = float(ratios[known].mean())
    return [
        Score("ifd", value, np.where(known, ratios, 0.0), known.astype(np.float64), higher_is_better=False, note=note)
    ]
