"""The `generation:` section of a recipe: how answers are made."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ..runtime.config import Section

Positive = Annotated[int, Field(ge=1)]


class GenerationConfig(Section):
    """How answers are generated, once for all metrics that need them."""

    max_new_tokens: Positive | None = None
    """The longest answer, in tokens; by default a little more than the longest target."""
    batch_size: Positive = 16
    """Prompts answered at once. It changes no answer, but where two tokens are as good as equally likely; of a
    multi-token model that draws tokens it decides whether `speculative: auto` drafts."""
    num_examples: Positive | None = None
    """Answer the first so many rows of `data.eval` only; by default all."""
    temperature: Annotated[float, Field(ge=0)] = 0.0
    """0 always takes the likeliest token; above 0 tokens are drawn, the flatter the higher."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Draw from the likeliest tokens that together have this share of the probability."""
    top_k: Positive | None = None
    """Draw from so many of the likeliest tokens."""
    num_beams: Positive = 1
    """Answers looked for side by side, of which the likeliest is kept; 1 is no search."""
    repetition_penalty: Annotated[float, Field(gt=0)] = 1.0
    """Above 1, tokens that stand in the prompt or the answer already become less likely."""

    speculative: bool | Literal["auto"] = "auto"
    """Draft tokens with the heads of a multi-token model and verify them in the same pass. Greedy answers stay what
    they are, drawn ones are as likely as before; `auto` drafts where the model can and so few prompts are answered at
    once that it is faster, `true` insists."""

    @model_validator(mode="after")
    def _all_used(self) -> GenerationConfig:
        if self.temperature == 0 and (self.top_p < 1 or self.top_k is not None):
            raise ValueError("top_p and top_k are for drawing tokens; set temperature above 0, or leave them out")
        if self.temperature > 0 and self.num_beams > 1:
            raise ValueError("beams look for the likeliest answer and draw nothing; set temperature 0 or num_beams 1")
        if self.speculative is True and self.num_beams > 1:
            raise ValueError("speculative is for one answer at a time, not for beams; set num_beams 1, or leave it out")
        return self
