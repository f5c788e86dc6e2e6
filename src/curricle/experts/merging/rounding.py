"""From float32 to the precision that is written, once: to the nearest number, or at random in proportion."""

from __future__ import annotations

import torch
from torch import Tensor

_MANTISSA = {torch.bfloat16: (7, -120), torch.float16: (10, -14)}
"""Bits behind the point, and the exponent below which steps stay as they are: for bfloat16 a little above its smallest,
2^-126, as two to the opposite power must be a float32 too."""


def cast(value: Tensor, dtype: torch.dtype, seed: int | None = None) -> Tensor:
    """To the nearest, or with a `seed` up or down at random, so that the mean over seeds is the value itself: changes
    smaller than half a step are then not all lost."""
    if seed is None or dtype not in _MANTISSA:
        return value.to(dtype)
    bits, smallest = _MANTISSA[dtype]
    exponent = torch.frexp(value)[1].sub_(1).clamp_(min=smallest).sub_(bits)
    steps = torch.ldexp(value, -exponent)  # in steps of the coarser precision; powers of two lose nothing
    grid = 1 << (23 - bits)  # as fine as float32 is beside the largest step: a whole number of steps stays what it is
    draws = torch.randint(grid, value.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
    return torch.ldexp(steps.add_(draws.div_(grid)).floor_(), exponent).to(dtype)
