"""L(N, D) = E + A / N^alpha + B / D^beta, and what it says of a budget of 6 N D FLOPs. Pure.

N are parameters, D tokens of training, each seen once. At the compute optimum the two terms share what is above E as
beta to alpha, whatever the budget; both optima below are found through that share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ...errors import RecipeError

Number = TypeVar("Number", float, NDArray[np.float64])

TRAINING, SERVING = 6.0, 2.0
"""FLOPs of one token for each parameter: forward and backward, and forward only."""


@dataclass(frozen=True)
class Point:
    """A model of N parameters trained on D tokens, and the loss that the law gives it."""

    params: float
    tokens: float
    loss: float

    @property
    def training_flops(self) -> float:
        return TRAINING * self.params * self.tokens

    def flops(self, served: float) -> float:
        """Training, and so many tokens answered afterwards."""
        return self.training_flops + SERVING * self.params * served


@dataclass(frozen=True)
class Law:
    """The five constants; `E` is the loss that no model and no data get below."""

    E: float
    A: float
    B: float
    alpha: float
    beta: float

    def loss(self, params: Number, tokens: Number) -> Number:
        loss: Number = self.E + self.A / params**self.alpha + self.B / tokens**self.beta
        return loss

    def at(self, params: float, tokens: float) -> Point:
        return Point(params, tokens, self.loss(params, tokens))

    @property
    def balance(self) -> float:
        """G = (alpha A / (beta B))^(1 / (alpha + beta))."""
        return float((self.alpha * self.A / (self.beta * self.B)) ** (1 / (self.alpha + self.beta)))

    @property
    def growth(self) -> tuple[float, float]:
        """The exponents a and b with which N and D grow with compute; they sum to 1."""
        both = self.alpha + self.beta
        return self.beta / both, self.alpha / both

    def doubling(self) -> tuple[float, float]:
        """By what N and D are multiplied when compute doubles; the product is 2."""
        of_params, of_tokens = self.growth
        return 2**of_params, 2**of_tokens

    def optimum(self, flops: float) -> Point:
        """The model of least loss among all with 6 N D = `flops`."""
        of_params, of_tokens = self.growth
        pairs = flops / TRAINING
        return self.at(self.balance * pairs**of_params, pairs**of_tokens / self.balance)

    def serving_optimum(self, loss: float, served: float) -> Point:
        """The cheapest model of that loss, where 6 N D + 2 N `served` is what it costs.

        With s the share of (loss - E) that A / N^alpha takes, N falls in s and D grows. The cost falls while
        alpha s w < beta (1 - s), where w = 3 D / (3 D + served); the left side grows with s and the right side falls.
        """
        from scipy.optimize import brentq

        above = loss - self.E
        if above <= 0:
            raise RecipeError(
                f"no model has a loss of {loss:g}: the law ends at E = {self.E:g}; ask for more than that."
            )

        def sizes(share: float) -> tuple[float, float]:
            params = (self.A / (share * above)) ** (1 / self.alpha)
            return params, (self.B / ((1 - share) * above)) ** (1 / self.beta)

        def slope(share: float) -> float:
            tokens = sizes(share)[1]
            return self.alpha * share * 3 * tokens / (3 * tokens + served) - self.beta * (1 - share)

        least = self.growth[0]
        share = brentq(slope, least, 1 - 1e-12, xtol=1e-15) if served else least
        return self.at(*sizes(share))

    def __str__(self) -> str:
        return f"L(N, D) = {self.E:.4g} + {self.A:.4g} / N^{self.alpha:.4f} + {self.B:.4g} / D^{self.beta:.4f}"


PRESETS = {
    "hoffmann": Law(1.6934, 406.4, 410.7, 0.3392, 0.2849),
    "hoffmann-rounded": Law(1.69, 406.4, 410.7, 0.34, 0.28),
    "epoch": Law(1.8172, 482.01, 2085.43, 0.3478, 0.3658),
}
"""Hoffmann et al. 2022, approach 3: the constants of the paper's source, and as they were printed; Besiroglu et al.
2024 fitted the same runs anew."""
