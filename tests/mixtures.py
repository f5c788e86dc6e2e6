"""Experts of a small model without training: known factors and known tensors, as differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from curricle.experts.difference import Difference, Factors, Lazy

Part = Factors | Tensor


def difference(name: str, parts: dict[str, Part], base: str | None = None) -> Difference:
    lazies = {
        tensor: Lazy(tuple(part.shape), lambda part=part: part, part.rank if isinstance(part, Factors) else None)
        for tensor, part in parts.items()
    }
    return Difference(name, base, None, lazies)


def expert(
    model: Any,
    seed: int,
    rank: int = 3,
    size: float = 0.1,
    ends: Sequence[str] = ("proj.weight",),
    whole: Sequence[str] = (),
) -> Difference:
    """Random factors for tensors whose names end in `ends`, and random whole tensors for those in `whole`."""
    draw = torch.Generator().manual_seed(seed)
    parts: dict[str, Part] = {}
    for name, parameter in model.named_parameters():
        if name.endswith(tuple(whole)) and whole:
            parts[name] = size * torch.randn(parameter.shape, generator=draw)
        elif name.endswith(tuple(ends)) and parameter.dim() == 2:
            up = size * torch.randn(parameter.shape[0], rank, generator=draw)
            parts[name] = Factors(up, size * torch.randn(rank, parameter.shape[1], generator=draw), scale=2.0)
    assert parts
    return difference(f"expert-{seed}", parts)


def state(model: Any) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Bit for bit."""
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())
