"""The recipe section `weighting:`."""

from __future__ import annotations

from typing import Literal

from ..runtime.config import Section


class WeightingConfig(Section):
    """Which token counts how much in the loss."""

    kind: Literal["uniform"] = "uniform"
    """How a token gets its weight: uniform gives every supervised token 1, which is plain cross-entropy."""
