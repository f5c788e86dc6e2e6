"""The `generation:` section of a recipe: how answers are made."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ..runtime.config import Section


class GenerationConfig(Section):
    """How answers are generated, once for all metrics that need them."""

    max_new_tokens: Annotated[int, Field(ge=1)] | None = None
    """The longest answer, in tokens; by default a little more than the longest target."""
    batch_size: Annotated[int, Field(ge=1)] = 16
    """Prompts answered at once."""
    num_examples: Annotated[int, Field(ge=1)] | None = None
    """Answer the first so many rows of `data.eval` only; by default all."""
