"""What is logged of weights: sums and counts, so that a step's figures are those of all its tokens on all ranks."""

from __future__ import annotations

import torch
from torch import Tensor

from ..losses.flat import FlatTokens, Metrics


def by_correctness(weights_n: Tensor | None, tokens: FlatTokens) -> Metrics:
    """The mean weight of correct and of incorrect rows' tokens, where rows have rewards."""
    reward_n = tokens.reward_n
    if reward_n is None:
        return {}
    if weights_n is None:
        weights_n = torch.ones_like(reward_n)
    if weights_n.dim() > 1:  # one column a head
        weights_n = weights_n.mean(1)
    found: Metrics = {}
    for name, of_them_n in (("weight_correct", reward_n > 0.5), ("weight_incorrect", reward_n <= 0.5)):
        found[name] = (torch.where(of_them_n.to(weights_n.device), weights_n, 0.0).sum(), of_them_n.sum())
    return found


def clipped(raw: Tensor, clip: tuple[float, float]) -> Metrics:
    """The shares of weights that were raised to the least and cut to the largest."""
    low, high = clip
    return {"weight_clipped_low": share(raw < low), "weight_clipped_high": share(raw > high)}


def share(marked: Tensor) -> tuple[Tensor, int]:
    """The share of tokens that are marked."""
    return marked.sum(), marked.numel()
