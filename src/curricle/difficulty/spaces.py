"""A space in which states of two models can be compared, whatever their widths.

    rsa          a sample is the ranks of its likeness (cosine) to a fixed set of anchor samples, in each model its own
    ridge        edge states are mapped to cloud states by ridge regression
    procrustes   both are reduced to k principal axes, and the edge's are rotated onto the cloud's
    none         states as they are; needs equal widths

Everything is fitted on calibration samples, which are not scored with it. States are standardised first, by default per
dimension: in Llama and Qwen a few massive dimensions would decide every distance. After that no rotation of either side
changes a score (but with `none`). A rotation before it does, as other dimensions are then standardised; with one number
for a whole layer it does not.

Suffixes: n samples, l layers, d width, a anchors, k dimensions of the space.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ModelError
from .config import Scale, Space

if TYPE_CHECKING:
    from torch import Tensor

AXES = 64
"""The most principal axes that procrustes keeps."""


@dataclass(frozen=True)
class Side:
    """How states of one model come into the common space."""

    mean_ld: Tensor
    scale_ld: Tensor
    map_ldk: Tensor | None
    """Onto anchors, onto the other model, onto axes; None leaves states as they are."""
    ranks: bool = False

    def standard(self, states_nld: Tensor) -> Tensor:
        return (states_nld.float() - self.mean_ld) / self.scale_ld

    def features(self, states_nld: Tensor) -> Tensor:
        """`[n, l, k]` of states `[n, l, d]`."""
        import torch

        standard_nld = self.standard(states_nld)
        if self.map_ldk is None:
            return standard_nld
        if not self.ranks:
            return torch.einsum("nld,ldk->nlk", standard_nld, self.map_ldk)
        return unit_ranks(torch.einsum("nld,ldk->nlk", _unit(standard_nld), self.map_ldk))


def fit_cloud(space: Space, cloud_nld: Tensor, standardize: Scale = "dimension") -> Side:
    """The cloud model's side, from its states of the calibration samples alone."""
    mean_ld, scale_ld = _moments(cloud_nld, standardize)
    plain = Side(mean_ld, scale_ld, None)
    if space == "rsa":
        return _onto_anchors(plain, cloud_nld)
    if space == "procrustes":
        return Side(mean_ld, scale_ld, _axes(plain.standard(cloud_nld), AXES))
    return plain


def fit_edge(
    space: Space,
    edge_nld: Tensor,
    cloud_nld: Tensor,
    cloud: Side,
    ridge: float = 1.0,
    standardize: Scale = "dimension",
) -> Side:
    """The edge model's side. `cloud_nld` are the states of the same samples at the matched layers."""
    import torch

    mean_ld, scale_ld = _moments(edge_nld, standardize)
    plain = Side(mean_ld, scale_ld, None)
    if space == "rsa":
        return _onto_anchors(plain, edge_nld)
    standard_nld, targets_nlk = plain.standard(edge_nld), cloud.features(cloud_nld)
    if space == "none":
        refuse_other_width(edge_nld.shape[2], cloud_nld.shape[2])
        return plain
    if space == "ridge":
        maps = [ridge_map(x_nd, y_nk, ridge) for x_nd, y_nk in _layers(standard_nld, targets_nlk)]
        return Side(mean_ld, scale_ld, torch.stack(maps))
    axes_ldk = _axes(standard_nld, AXES)
    reduced_nlk = torch.einsum("nld,ldk->nlk", standard_nld, axes_ldk)
    turned = [
        axes_dk @ rotation(x_nk, y_nk)
        for axes_dk, (x_nk, y_nk) in zip(axes_ldk, _layers(reduced_nlk, targets_nlk), strict=True)
    ]
    return Side(mean_ld, scale_ld, torch.stack(turned))


def refuse_other_width(edge: int, cloud: int) -> None:
    if edge != cloud:
        raise ModelError(
            f"space `none` compares states as they are, but they are {cloud} wide in the cloud model and {edge} in the "
            "edge model; take space rsa, ridge or procrustes"
        )


def differences(metric: str, edge_nlk: Tensor, cloud_nlk: Tensor) -> Tensor:
    """`[n, l]`: how far apart two models see each sample, `l2` or `cosine`."""
    if metric == "l2":
        return (cloud_nlk - edge_nlk).norm(dim=2)
    return (1 - (_unit(cloud_nlk) * _unit(edge_nlk)).sum(2)).clamp_min(0.0)


def ridge_map(x_nd: Tensor, y_nk: Tensor, ridge: float) -> Tensor:
    """argmin |Y - X W|^2 + ridge n |W|^2, by whichever of the two equal forms has the smaller matrix."""
    import torch

    x, y, num = x_nd.double(), y_nk.double(), len(x_nd)
    if num >= x.shape[1]:
        gram = x.T @ x + ridge * num * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        return torch.linalg.solve(gram, x.T @ y).float()
    gram = x @ x.T + ridge * num * torch.eye(num, dtype=x.dtype, device=x.device)
    return (x.T @ torch.linalg.solve(gram, y)).float()


def rotation(x_nk: Tensor, y_nk: Tensor) -> Tensor:
    """The orthogonal R that brings X R closest to Y; of other widths, as if the narrower one had zeros behind."""
    import torch

    left, _, right = torch.linalg.svd(x_nk.double().T @ y_nk.double(), full_matrices=False)
    return (left @ right).float()


def unit_ranks(likeness_nla: Tensor) -> Tensor:
    """Ranks along the last dimension, centred and of length 1: their inner product is Spearman's correlation."""
    import torch

    num = likeness_nla.shape[-1]
    order = likeness_nla.argsort(dim=-1, stable=True)
    places = torch.arange(num, dtype=torch.float32, device=likeness_nla.device) - (num - 1) / 2
    ranks = torch.empty_like(likeness_nla).scatter_(-1, order, places.expand_as(order).contiguous())
    return ranks / places.norm()


def _onto_anchors(plain: Side, states_ald: Tensor) -> Side:
    anchors_lda = _unit(plain.standard(states_ald)).permute(1, 2, 0).contiguous()
    return Side(plain.mean_ld, plain.scale_ld, anchors_lda, ranks=True)


def _moments(states_nld: Tensor, standardize: Scale) -> tuple[Tensor, Tensor]:
    """The mean of each dimension, and its standard deviation or the whole layer's; what never moves keeps its scale."""
    states = states_nld.double()
    scale_ld = states.std(0, correction=0)
    if standardize == "whole":
        scale_ld = scale_ld.square().mean(1, keepdim=True).sqrt().expand_as(scale_ld)
    return states.mean(0).float(), scale_ld.where(scale_ld > 1e-6, 1.0).float()


def _axes(standard_nld: Tensor, most: int) -> Tensor:
    """`[l, d, k]`: principal axes, in order, at most half as many as there are samples."""
    import torch

    num, _, width = standard_nld.shape
    kept = min(most, width, max(1, num // 2))
    _, _, right = torch.linalg.svd(standard_nld.transpose(0, 1).double(), full_matrices=False)
    return right[:, :kept].transpose(1, 2).float()


def _unit(states: Tensor) -> Tensor:
    return states / states.norm(dim=-1, keepdim=True).clamp_min(1e-12)


def _layers(one_nld: Tensor, other_nlk: Tensor) -> list[tuple[Tensor, Tensor]]:
    return list(zip(one_nld.unbind(1), other_nlk.unbind(1), strict=True))
