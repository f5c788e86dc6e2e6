"""Models whose heads guess well enough for drafts to stand and badly enough for some to fall."""

from __future__ import annotations

from typing import Any

import torch

from curricle.models.mtp.making import add_heads
from generation.reference import sharpened


def drafting(kind: str = "llama", num: int = 4, attention: str = "sdpa", noise: float = 0.02, **changes: Any) -> Any:
    """The answers of such models run in circles, and heads that are nearly the last layer know the way round."""
    model = add_heads(sharpened(kind, attention, num_hidden_layers=3, **changes), num).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.extra_heads.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * noise)
    return model
