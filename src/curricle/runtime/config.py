"""The base of every recipe section: unknown keys are errors, values are fixed, a field's docstring is its help."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A named part of a recipe. The room it configures defines it; `experiments.recipe` puts the parts together."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
