"""Ways to add differences up, one tensor at a time: pure functions of float32 tensors.

    linear, uniform    base + scale * sum_i w_i d_i                      (DEM, task arithmetic; uniform: all w_i alike)
    mean               sum_i w_i m_i of whole models, over a base of zeros     (mergekit's linear)
    ties               each d_i trimmed to its largest values, a sign elected per number, those that agree added
    dare_linear        numbers of each d_i dropped at random and the rest made larger, then as linear
    dare_ties          dropped likewise, then signs elected as in ties

With `normalize: sum1` the sum is divided by the sum of the weights: of all experts in the linear ones, of those that
agree on a number in the ones that elect signs. Papers: DEM arXiv 2406.15570, task arithmetic 2212.04089, TIES
2306.01708, DARE 2311.03099.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..difference import Factors
from .config import SPARSE

Rescale = Literal["density", "norm", "none"]
Part = Factors | Tensor | None
"""An expert's difference in one tensor; None where it changed nothing."""


@dataclass(frozen=True)
class Options:
    """What is done with the differences of one tensor besides weighing them."""

    method: str = "linear"
    normalize: bool = False
    scale: float = 1.0
    """Lambda: times the sum of all, after any normalizing."""
    densities: tuple[float, ...] = ()
    """For each expert the share of its numbers that is kept; needed by the sparse methods."""
    rescale: Rescale = "density"
    """How DARE makes up for what it dropped: divided by the density, by the L1 norm that was lost, or not at all."""


def combine(
    base: Tensor,
    parts: Iterable[Part],
    weights: Sequence[float],
    options: Options | None = None,
    seeds: Sequence[int] = (),
) -> Tensor:
    """The merged tensor in float32. `parts` are gone through once and may be made on the way; a part whose weight is 0
    changes nothing. `seeds` are for DARE, one for each part."""
    options = options or Options()
    if options.method not in SPARSE:
        total = _weighted_sum(base, parts, weights, fused=options.method == "mean")
        if options.normalize:
            total.div_(_divisor(weights))
    else:
        total = _sparse_sum(base, parts, weights, options, seeds)
    if options.scale != 1:
        total.mul_(options.scale)
    return total.add_(base)


def _divisor(weights: Sequence[float]) -> float:
    return float(torch.tensor(weights, dtype=torch.float64).sum())


def _weighted_sum(base: Tensor, parts: Iterable[Part], weights: Sequence[float], fused: bool = False) -> Tensor:
    """Multiplied, rounded and added, or in one operation with one rounding: as mergekit does it here and in a mean, so
    that its files give the same bits."""
    total = torch.zeros_like(base)
    for part, weight in zip(parts, weights, strict=True):
        if isinstance(part, Factors):
            total.addmm_(part.up * (weight * part.scale), part.down)
        elif part is not None and fused:
            total.add_(part, alpha=weight)
        elif part is not None:
            total.add_(part * weight)
    return total


def _sparse_sum(
    base: Tensor, parts: Iterable[Part], weights: Sequence[float], options: Options, seeds: Sequence[int]
) -> Tensor:
    sparse = []
    for i, (part, weight) in enumerate(zip(parts, weights, strict=True)):
        if part is None or weight == 0:
            continue
        dense = part.dense() if isinstance(part, Factors) else part
        density = options.densities[i]
        kept = trim(dense, density) if options.method == "ties" else drop(dense, density, seeds[i], options.rescale)
        sparse.append((kept.mul_(weight), weight))
    if options.method == "dare_linear":
        total = torch.zeros_like(base)
        for change, _ in sparse:
            total.add_(change)
        return total.div_(_divisor(weights)) if options.normalize else total
    return elect([change for change, _ in sparse], [weight for _, weight in sparse], options.normalize, base)


def trim(difference: Tensor, density: float) -> Tensor:
    """The share `density` of the numbers that is largest, the others 0. Of equally large ones the first are kept."""
    number = difference.numel()
    if density >= 1 or number == 0:
        return difference.clone()
    if density <= 0:
        return torch.zeros_like(difference)
    keep = max(1, int(density * number))
    sizes = difference.abs().flatten()
    border = sizes.kthvalue(number - keep + 1).values
    kept = sizes > border
    spare = keep - int(kept.sum())
    kept[(sizes == border).nonzero().flatten()[:spare]] = True
    return difference * kept.view_as(difference)


def drop(difference: Tensor, density: float, seed: int, rescale: Rescale = "density") -> Tensor:
    """Each number kept with probability `density`, else 0, and what is kept made larger for what is gone."""
    if density >= 1:
        return difference.clone()
    generator = torch.Generator().manual_seed(seed)
    kept = difference * (torch.rand(difference.shape, generator=generator) < density)
    if rescale == "density" and density > 0:
        return kept.div_(density)
    if rescale == "norm":
        before, after = float(difference.abs().sum(dtype=torch.float64)), float(kept.abs().sum(dtype=torch.float64))
        return kept.mul_(before / after) if after > 0 else kept
    return kept


def elect(changes: Sequence[Tensor], weights: Sequence[float], normalize: bool, base: Tensor) -> Tensor:
    """Number by number the sign of the sum of all is taken, and those of that sign are added; with `normalize` divided
    by the sum of their weights."""
    total, votes = torch.zeros_like(base), torch.zeros_like(base)
    for change in changes:
        votes.add_(change)
    positive = votes >= 0
    votes.zero_()
    for change, weight in zip(changes, weights, strict=True):
        agrees = torch.where(positive, change > 0, change < 0)
        total.add_(change * agrees)
        if normalize:
            votes.add_(agrees, alpha=weight)
    if normalize:
        total.div_(votes.masked_fill_(votes == 0, 1))
    return total
