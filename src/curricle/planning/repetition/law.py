"""The scaling law with repeated tokens, after Muennighoff et al. 2023. Pure.

    R  = max(D / U - 1, 0)                     how often the U unique tokens are repeated within D
    D' = U + U R* (1 - exp(-R / R*))           what they are worth in fresh tokens: the next epoch gives exp(-R / R*)

N' is made of N alike, above the size U_N that is best for U tokens. The law has a plateau and never rises: that a model
trained for too many epochs gets worse on held-out text it does not say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..scaling.law import TRAINING, Law, Point


def worth(amount: float, unique: float, star: float) -> float:
    """Of `unique` things used `amount` / `unique` times, in things used once; `star` is R*."""
    repeats = max(amount / unique - 1, 0.0)
    return min(amount, unique) - unique * star * math.expm1(-repeats / star)


@dataclass(frozen=True)
class RepeatedLaw:
    """A law of fresh tokens, and how fast repeats lose their worth."""

    law: Law
    tokens_star: float
    params_star: float

    def best_params(self, tokens: float) -> float:
        """The size for which so many fresh tokens are the compute optimum."""
        law = self.law
        return float((tokens * law.balance) ** (law.beta / law.alpha) * law.balance)

    def effective_tokens(self, tokens: float, unique: float) -> float:
        return worth(tokens, unique, self.tokens_star)

    def next_epoch(self, epochs: float) -> float:
        """What one more epoch begins to give after so many, as a share of fresh tokens."""
        return math.exp(-max(epochs - 1, 0.0) / self.tokens_star)

    def epochs_worth(self, share: float) -> float:
        """How many epochs pass until the next one gives only `share` of fresh tokens."""
        return 1 - self.tokens_star * math.log(share)

    def loss(self, params: float, tokens: float, unique: float) -> float:
        unique = min(unique, tokens)
        enough = min(params, self.best_params(unique))
        effective = worth(params, enough, self.params_star)
        return self.law.loss(effective, self.effective_tokens(tokens, unique))

    def optimum(self, flops: float, unique: float) -> Point:
        """The model of least loss for 6 N D = `flops`, where D may repeat `unique` tokens."""
        from scipy.optimize import minimize_scalar

        pairs = flops / TRAINING

        def loss(log_params: float) -> float:
            params = math.exp(log_params)
            return self.loss(params, pairs / params, unique)

        middle, step = math.log(self.law.optimum(flops).params), 0.05
        start = min((middle + step * i for i in range(-200, 201)), key=loss)
        found = minimize_scalar(loss, bounds=(start - step, start + step), method="bounded", options={"xatol": 1e-9})
        params = math.exp(found.x)
        return Point(params, pairs / params, float(found.fun))


MUENNIGHOFF = RepeatedLaw(
    Law(math.exp(0.6254804), math.exp(6.255414), math.exp(7.3049974), 0.3526596, 0.3526596), 15.387756, 5.309743
)
"""Fitted by its authors to 182 runs on C4, with dropout of 0.1."""


@dataclass(frozen=True)
class Mixture:
    """Tokens of training from either source, and what all of them are worth in fresh real ones."""

    real: float
    synthetic: float
    effective: float


def mix(law: RepeatedLaw, tokens: float, real: float, synthetic: float, value: float) -> Mixture:
    """How `tokens` of training are best drawn from two stocks, where a fresh synthetic token is worth `value` (at most
    1) of a fresh real one: whichever gives more goes next. Real ones go first, and are repeated until their next epoch
    gives no more than `value`; then synthetic ones, each once; then both, repeated to the same level."""
    star = law.tokens_star
    alone = real * law.epochs_worth(value)
    if tokens <= alone:
        of_real = tokens
    elif tokens <= alone + synthetic:
        of_real = alone
    else:
        level = (tokens - real - synthetic - synthetic * star * math.log(value)) / (star * (real + synthetic))
        of_real = real * (1 + star * level)
    rest = tokens - of_real
    added = value * worth(rest, synthetic, star) if rest > 0 else 0.0
    return Mixture(of_real, rest, worth(of_real, real, star) + added)
