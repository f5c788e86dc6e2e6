"""Random numbers for tokens, each from the run's seed, the step, the example and the token's place in it alone.

So a token's number depends neither on the batch it is in nor on the ranks, and a resumed run draws the same.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..losses.flat import FlatTokens
from ..runtime.seeds import derive_seed
from .base import column

# Steele, Lea and Flood's SplitMix64, in the signed numbers that tensors have.
_STEP, _FIRST, _SECOND = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15
_PLACE = 0x2545F4914F6CDD1D


def token_numbers(tokens: FlatTokens, seed: int, step: int, name: str) -> Tensor:
    """[n] 63-bit numbers, evenly spread."""
    example_n = column(tokens, "example_n", name)
    begin = torch.tensor(derive_seed(seed, "weighting", name, step), device=example_n.device)
    mixed_n = _mix(begin + example_n.long() * _STEP)
    return _shifted(_mix(mixed_n + tokens.position_n.long() * _PLACE), 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shifted(x, 30)) * _FIRST
    x = (x ^ _shifted(x, 27)) * _SECOND
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, by: int) -> Tensor:
    """To the right, with zeros coming in."""
    return (x >> by) & ((1 << (64 - by)) - 1)
