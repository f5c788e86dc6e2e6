"""A control: correct rows are learned, incorrect ones are not. Whatever a critic adds must show beside this.

A row without a reward is not learned either: nothing says that it is correct.
"""

from __future__ import annotations

from torch import Tensor

from ..losses.flat import FlatTokens, Metrics
from .base import Weighting, column
from .pool import Pool, Scope, to_mean_one


class CorrectOnly(Weighting):
    """The reward itself: 1 or 0."""

    name = "correct_only"
    known_beforehand = True
    needs = frozenset({"reward_n"})

    def __init__(self, *, normalize: bool = False, scope: Scope = "micro_batch") -> None:
        self.normalize, self.pool = normalize, Pool(scope)

    def __call__(self, tokens: FlatTokens) -> tuple[Tensor | None, Metrics]:
        weights_n = column(tokens, "reward_n", "correct_only").nan_to_num(0.0)
        return (to_mean_one(weights_n, self.pool, self.step) if self.normalize else weights_n), {}
