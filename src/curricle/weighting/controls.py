"""Controls: weights of the same size and number that say nothing about their tokens.

    shuffled         a document keeps its weights, its tokens exchange them
    random_matched   each token draws a weight from those of all tokens of the micro batch over all ranks
    random_tokens    as many tokens are learned as a selection would take, chosen by lot

A weighting that beats `shuffled` knows which token counts; one that beats `random_matched` only knows which document.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..losses.flat import FlatTokens, Metrics
from ..runtime.ranks import all_rows
from .base import Weighting
from .draws import token_numbers
from .measures import share
from .pool import Pool, Scope
from .selection import choose_top, selecting_weights


def shuffle_in_documents(number_n: Tensor, doc_n: Tensor) -> Tensor:
    """For each token the token of its own document whose weight it gets; documents lie one after the other."""
    by_number = number_n.argsort(stable=True)
    return by_number[doc_n[by_number].argsort(stable=True)]


class _Control(Weighting):
    """Another weighting's weights, dealt out otherwise."""

    def __init__(self, inner: Weighting, seed: int = 0) -> None:
        self.inner, self.seed = inner, seed
        self.name = inner.name
        self.known_beforehand = inner.known_beforehand
        self.needs = inner.needs | {"example_n"}

    def _inner(self, tokens: FlatTokens) -> tuple[Tensor, Metrics]:
        self.inner.step, self.inner.num_heads = self.step, self.num_heads
        weights, metrics = self.inner(tokens)
        return (torch.ones(len(tokens)) if weights is None else weights), metrics

    def state_dict(self) -> dict[str, Any]:
        return self.inner.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.inner.load_state_dict(state)


class Shuffled(_Control):
    """Each document's weights, exchanged among its tokens."""

    def __call__(self, tokens: FlatTokens) -> tuple[Tensor | None, Metrics]:
        weights, metrics = self._inner(tokens)
        number_n = token_numbers(tokens, self.seed, self.step, "shuffled")
        return weights[shuffle_in_documents(number_n, tokens.doc_n).to(weights.device)], metrics


class RandomMatched(_Control):
    """Weights drawn, with replacement, from those of the micro batch over all ranks."""

    def __call__(self, tokens: FlatTokens) -> tuple[Tensor | None, Metrics]:
        weights, metrics = self._inner(tokens)
        pooled, _ = all_rows(weights)
        number_n = token_numbers(tokens, self.seed, self.step, "random_matched")
        return pooled[(number_n % max(1, len(pooled))).to(weights.device)], metrics


class RandomTokens(Weighting):
    """A share of the tokens, chosen by lot: a selection that knows nothing."""

    name = "random_tokens"
    known_beforehand = True
    needs = frozenset({"example_n"})

    def __init__(self, *, ratio: float = 0.6, scope: Scope = "micro_batch", seed: int = 0) -> None:
        self.ratio, self.seed, self.pool = ratio, seed, Pool(scope)

    def __call__(self, tokens: FlatTokens) -> tuple[Tensor | None, Metrics]:
        number_n = token_numbers(tokens, self.seed, self.step, "random_tokens")
        pooled, own = self.pool.widen(number_n, self.step)
        if not len(number_n):
            return number_n.float(), {"weight_selected": share(number_n > 0)}
        chosen = choose_top(pooled, self.ratio)
        return selecting_weights(chosen)[own].float(), {"weight_selected": share(chosen[own])}
