"""The `curriculum:` section of a recipe: which example, when."""

from __future__ import annotations

from typing import Literal

from ..runtime.config import Section


class CurriculumConfig(Section):
    strategy: Literal["none"] = "none"
    """How the order of the examples is chosen. `none`: shuffled passes over the whole set."""
