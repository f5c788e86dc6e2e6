"""Rho-1 (Lin et al. 2024): learn the tokens on which the model is most behind a reference model.

    excess_n = loss_n - reference_n          signed; the largest `ratio` of them are learned, the others are not
    weight   = N / number chosen on the chosen, else 0

The soft variant has no border: sigmoid((excess - e) / softness), scaled to a mean of 1, where e is the excess of the
last one chosen. As softness goes to 0 it becomes the choice.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..losses.flat import FlatTokens, Metrics
from .base import Weighting, column
from .measures import share
from .pool import Pool, Scope
from .selection import choose_top, selecting_weights


def excess_losses(tokens: FlatTokens) -> Tensor:
    """excess_n: the model's loss above the reference model's."""
    assert tokens.loss_n is not None
    return tokens.loss_n - column(tokens, "reference_n", "reference_excess").to(tokens.loss_n)


def soft_weights(excess_n: Tensor, ratio: float, softness: float) -> Tensor:
    """Weights that fall off around the excess of the last token that would be chosen; their mean is 1."""
    border = excess_n[choose_top(excess_n, ratio)].min()
    kept_n = torch.sigmoid((excess_n - border) / softness)
    return kept_n / kept_n.mean()


class ReferenceExcess(Weighting):
    """Only the share of tokens with the largest excess loss is learned."""

    name = "reference_excess"
    needs = frozenset({"reference_n"})

    def __init__(self, *, ratio: float = 0.6, scope: Scope = "micro_batch", softness: float | None = None) -> None:
        self.ratio, self.softness, self.pool = ratio, softness, Pool(scope)

    def __call__(self, tokens: FlatTokens) -> tuple[Tensor | None, Metrics]:
        excess_n = excess_losses(tokens)
        pooled, own = self.pool.widen(excess_n, self.step)
        if not len(excess_n):
            return excess_n, {"weight_selected": share(excess_n > 0), "excess_loss": (excess_n.sum(), 0)}
        chosen = choose_top(pooled, self.ratio)
        weights = (
            selecting_weights(chosen) if self.softness is None else soft_weights(pooled, self.ratio, self.softness)
        )
        metrics = {"weight_selected": share(chosen[own]), "excess_loss": (excess_n.sum(), len(excess_n))}
        return weights[own].to(excess_n), metrics
