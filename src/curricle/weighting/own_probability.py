"""DFT (Wu et al. 2025): a token counts as much as the model believes in it, weight = p(token) = exp(-loss).

It undoes the 1/p by which cross-entropy is steep where the model is surprised; tokens it would never say hardly count.
"""

from __future__ import annotations

from torch import Tensor

from ..losses.flat import FlatTokens, Metrics
from .base import Weighting
from .pool import Pool, Scope, to_mean_one


class OwnProbability(Weighting):
    """The probability that the model gives to each token, not differentiated."""

    name = "own_probability"

    def __init__(self, *, normalize: bool = False, scope: Scope = "micro_batch") -> None:
        self.normalize, self.pool = normalize, Pool(scope)

    def __call__(self, tokens: FlatTokens) -> tuple[Tensor | None, Metrics]:
        assert tokens.loss_n is not None
        weights_n = (-tokens.loss_n).exp()
        return (to_mean_one(weights_n, self.pool, self.step) if self.normalize else weights_n), {}
