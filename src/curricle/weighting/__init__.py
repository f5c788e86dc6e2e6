"""Which token, how much? One interface over the flat table of supervised tokens.

Each kind is a file of this room; they load torch, so they are imported where they are used.
"""

from .base import Uniform, Weighting
from .build import build_weighting
from .config import WeightingConfig

__all__ = ["Uniform", "Weighting", "WeightingConfig", "build_weighting"]
