"""The recipe section `weighting:`: which token counts how much.

Every key has a default, so that a weighting is chosen by its name. A kind does not look at the keys of others, so that
arms may differ in `kind` alone.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ..runtime.config import Section

Kind = Literal["uniform", "td_error", "reference_excess", "column", "own_probability", "correct_only", "random_tokens"]
Scope = Literal["micro_batch", "rank", "global"]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class WeightingConfig(Section):
    """Which token counts how much in the loss; docs/weighting.md has the formulas."""

    kind: Kind = "uniform"
    """How a token gets its weight: uniform gives each 1, td_error goes by a critic, reference_excess by a reference
    model (Rho-1), column by your own numbers, own_probability by the model's (DFT); correct_only and random_tokens are
    controls."""
    control: Literal["shuffled", "random_matched"] | None = None
    """The same weights, moved among the tokens of each document, or drawn for each token from those of all."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 1.0
    """td_error: the discount of what comes later."""
    gae_lambda: Share = 0.0
    """td_error: 0 takes the error of one step, 1 the reward less the value; between them the errors that follow count
    less and less."""
    temperature: Positive = 0.9
    """td_error: a weight is exp(error / temperature)."""
    clip_min: Annotated[float, Field(ge=0)] = 0.1
    """td_error: the least weight."""
    clip_max: Positive = 5.0
    """td_error: the largest weight."""
    terminal: Literal["sequence", "horizon"] = "sequence"
    """td_error: the reward comes with the last learned token, or (as the source's loop has it) with whatever token the
    last head looks at."""
    normalize: bool = False
    """td_error, column, own_probability, correct_only: divide by the mean weight within `scope`."""
    ratio: Annotated[float, Field(gt=0, le=1)] = 0.6
    """reference_excess, random_tokens: the share of tokens that are learned."""
    scope: Scope = "micro_batch"
    """Among which tokens is chosen or averaged: a micro batch of one rank, all that a rank has seen in this step so
    far, or the micro batch over all ranks."""
    softness: Positive | None = None
    """reference_excess: in place of a choice, weights that fall off over this many nats of excess loss."""
    later_heads: NotNegative | list[tuple[Share, NotNegative]] = 1.0
    """Of a model with several heads: what the losses of heads 2 and on are multiplied by. 0 lets head 1 learn alone
    (next-token fine-tuning); [[0, 1], [0.7, 0.3]] goes from 1 to 0.3 when 0.7 of the run is done."""
    reference: str | None = None
    """reference_excess: the model whose loss a token's own is held against: a folder or a name on the hub."""
    reference_dtype: Literal["float32", "bfloat16", "float16", "auto"] = "auto"
    """Precision of the reference model's weights in memory; `auto` takes what was saved."""

    @model_validator(mode="after")
    def _fits_together(self) -> WeightingConfig:
        if self.clip_min >= self.clip_max:
            raise ValueError(f"weighting.clip_min is {self.clip_min:g}, not below clip_max, {self.clip_max:g}")
        if isinstance(self.later_heads, list):
            shares = [share for share, _ in self.later_heads]
            if not shares or shares[0] != 0 or sorted(set(shares)) != shares:
                raise ValueError(
                    f"weighting.later_heads has shares of the run {shares}: begin at 0, each above the last"
                )
        if self.kind == "td_error" and self.terminal == "horizon" and self.gae_lambda:
            raise ValueError("weighting.terminal horizon has errors of one step only; leave gae_lambda at 0")
        if self.kind == "reference_excess" and self.reference is None:
            raise ValueError("weighting.kind reference_excess needs a model to compare with; set weighting.reference")
        alike = self.kind == "correct_only" and self.control == "shuffled"  # one weight for all tokens of a document
        if alike or (self.control is not None and self.kind in ("uniform", "random_tokens")):
            raise ValueError(f"weighting.control {self.control} changes nothing about kind {self.kind}; leave it out")
        return self
