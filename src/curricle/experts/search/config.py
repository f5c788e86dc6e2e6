"""The `merge.search` section of a recipe: how the experts' weights are looked for."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ...runtime.config import Section

Normalize = Literal["none", "sum1"]


class SearchConfig(Section):
    """The experts' weights, searched by the held-out loss of every domain."""

    method: Literal["bayes", "coordinate", "nelder-mead", "grid"] = "bayes"
    """`bayes`: a Gaussian process says where the largest improvement is expected; `coordinate`: one weight at a time,
    along a parabola; `nelder-mead`: a simplex that walks downhill; `grid`: as fine a grid as the budget allows."""
    budget: Annotated[int, Field(ge=1)] = 40
    """Weights to try, with the starting points: the base, each expert alone, all alike, by tokens."""
    normalize: Normalize = "none"
    """`none`: base plus the weighted differences, each weight for itself (DEM); `sum1`: weights are divided by their
    sum, a weighted mean of the experts."""
    objective: Literal["mean", "shares", "worst"] = "mean"
    """What is made small: the mean of the domains' losses; their mean by `shares`; or `worst`, the largest loss in
    proportion to the base's."""
    shares: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """With `objective: shares`: how much the loss of each domain counts."""
    bounds: tuple[float, float] | None = None
    """The least and the largest weight tried: 0 and 1.5 by default. With `sum1` weights lie between 0 and 1."""
    first_rows: Annotated[int, Field(ge=1)] | None = None
    """Search on so many rows of each domain; the starting points and the best few are then measured on all rows."""
    seed: int = 0
    """Of the points that `bayes` chooses among."""

    @property
    def box(self) -> tuple[float, float]:
        """The bounds that hold."""
        return self.bounds or ((0.0, 1.0) if self.normalize == "sum1" else (0.0, 1.5))

    @model_validator(mode="after")
    def _fits_together(self) -> SearchConfig:
        if self.normalize == "sum1" and self.bounds is not None:
            raise ValueError("bounds are for `normalize: none`; with sum1 every weight lies between 0 and 1")
        low, high = self.box
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"bounds are [{low:g}, {high:g}]; give two numbers, the smaller one first")
        if (self.objective == "shares") != bool(self.shares):
            raise ValueError("`objective: shares` and `shares: {DOMAIN: SHARE, ...}` go together; one is missing")
        if self.shares and not sum(self.shares.values()):
            raise ValueError("shares sum to 0; give at least one domain a share above 0")
        return self
