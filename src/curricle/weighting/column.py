"""Weights that rows bring: of a whole row or of each token, from a column of the data (`data.weight_field`)."""

from __future__ import annotations

from torch import Tensor

from ..losses.flat import FlatTokens, Metrics
from .base import Weighting, column
from .pool import Pool, Scope, to_mean_one


class Column(Weighting):
    """What the rows say, as it is or with a mean of 1."""

    name = "column"
    known_beforehand = True
    needs = frozenset({"given_n"})

    def __init__(self, *, normalize: bool = False, scope: Scope = "micro_batch") -> None:
        self.normalize, self.pool = normalize, Pool(scope)

    def __call__(self, tokens: FlatTokens) -> tuple[Tensor | None, Metrics]:
        given_n = column(tokens, "given_n", "column")
        weights_n = to_mean_one(given_n, self.pool, self.step) if self.normalize else given_n
        return weights_n, {"weight_mean": (weights_n.sum(), weights_n.numel())}
