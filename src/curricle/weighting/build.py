"""From the recipe's section to the weighting it names."""

from __future__ import annotations

from .base import Uniform, Weighting
from .config import WeightingConfig

KINDS: dict[str, type[Weighting]] = {"uniform": Uniform}


def build_weighting(config: WeightingConfig) -> Weighting:
    return KINDS[config.kind]()
