"""Weights from a critic: how much better (or worse) a token made things than was expected.

For one document with learned tokens k = 1..T, where before_k is the value of the state that token k is read in, and R
is the document's reward:

    error_k = gamma * before_{k+1} - before_k          the state that the next learned token is read in
    error_T = R - before_T                             after the last token the value is 0: only R is left
    error_T = gamma * after_T - before_T               a document that was cut, or has no reward, has no end yet

    t              0     1     2     3     4     5
    tokens         p     p     a     b     c     .        R = 1
    value          .    0.5   0.6   0.2   0.4   (0.9)     of the state once the token at t is read
    before_k                  0.5   0.6   0.2   0.4       the value of the state before
    error_k                   0.1  -0.4   0.2   0.6       sums to R - before_1 = 0.5

With gamma = 1 the errors of a document add up to R - before_1, also where a dialogue has several learned answers. Their
discounted sums (GAE) are advantages: lambda 0 leaves the errors, lambda 1 gives R - before_k. A weight is
exp(advantage / temperature), clipped.

`terminal: horizon` is the source's loop: of H heads that look at the tokens t + 1 .. t + H, the last one gets
R - before at every position, so each token is an end once, and its weight depends on which head looks at it. With one
head, that is R - before_k for every token.

Suffixes: n supervised tokens, h heads.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..losses.flat import FlatTokens, Metrics
from .base import Weighting, column
from .measures import clipped
from .pool import Pool, Scope, to_mean_one


def td_errors(tokens: FlatTokens, gamma: float = 1.0) -> Tensor:
    """error_n of every token, the reward at the end of its document."""
    before_n, reward_n = _exact(column(tokens, "before_n", "td_error")), column(tokens, "reward_n", "td_error")
    last_n = tokens.last_n
    assert last_n is not None
    open_n = reward_n.isnan() if tokens.truncated_n is None else tokens.truncated_n | reward_n.isnan()
    reward_n = reward_n.to(before_n)
    bootstrap_n = gamma * before_n.roll(-1)
    if tokens.after_n is not None:
        bootstrap_n = torch.where(last_n, gamma * tokens.after_n.to(before_n), bootstrap_n)
    return torch.where(last_n & ~open_n, reward_n, bootstrap_n) - before_n


def horizon_errors(tokens: FlatTokens, gamma: float = 1.0) -> tuple[Tensor, Tensor]:
    """(error_n for every head but the last, error_n for the last head), as the source's loop has them."""
    before_n, reward_n = (_exact(column(tokens, name, "td_error")) for name in ("before_n", "reward_n"))
    after_n = column(tokens, "after_n", "td_error").to(before_n)
    return gamma * after_n - before_n, reward_n - before_n


def advantages(error_n: Tensor, doc_n: Tensor, decay: float) -> Tensor:
    """sum over j of decay^j * error_{k+j}, to the end of each document; `decay` is gamma * lambda.

    Each pass adds what lies `reach` tokens further on, which holds as many sums already: log2(n) passes, no loop over
    tokens.
    """
    if decay == 0:
        return error_n
    total_n, reach = error_n.clone(), 1
    while reach < len(total_n) and (factor := decay**reach) > 0:
        further_n = torch.where(doc_n[reach:] == doc_n[:-reach], total_n[reach:], 0.0)
        total_n[:-reach] += factor * further_n
        reach *= 2
    return total_n


def exponential_weights(advantage_n: Tensor, temperature: float = 0.9) -> Tensor:
    """exp(advantage / temperature), not clipped."""
    return (advantage_n.detach() / temperature).exp()


class TDError(Weighting):
    """Weights by how much better a token made things than the critic expected."""

    name = "td_error"
    known_beforehand = True

    def __init__(
        self,
        *,
        gamma: float = 1.0,
        gae_lambda: float = 0.0,
        temperature: float = 0.9,
        clip: tuple[float, float] = (0.1, 5.0),
        terminal: Literal["sequence", "horizon"] = "sequence",
        normalize: bool = False,
        scope: Scope = "micro_batch",
    ) -> None:
        self.gamma, self.decay, self.temperature, self.clip = gamma, gamma * gae_lambda, temperature, clip
        self.terminal, self.normalize = terminal, normalize
        self.pool = Pool(scope)
        self.needs = frozenset({"before_n", "after_n", "reward_n"})

    def __call__(self, tokens: FlatTokens) -> tuple[Tensor | None, Metrics]:
        raw = exponential_weights(self._advantages(tokens), self.temperature)
        weights = raw.clamp(*self.clip)
        metrics = clipped(raw, self.clip)
        return (to_mean_one(weights, self.pool, self.step) if self.normalize else weights), metrics

    def _advantages(self, tokens: FlatTokens) -> Tensor:
        """[n], or [n, h] where heads differ."""
        if self.terminal == "sequence":
            return advantages(td_errors(tokens, self.gamma), tokens.doc_n, self.decay)
        inner_n, last_n = horizon_errors(tokens, self.gamma)
        return last_n if self.num_heads == 1 else torch.stack([inner_n] * (self.num_heads - 1) + [last_n], 1)


def _exact(values_n: Tensor) -> Tensor:
    """In float32 or better: sums of errors are long."""
    return values_n.to(torch.promote_types(values_n.dtype, torch.float32))
