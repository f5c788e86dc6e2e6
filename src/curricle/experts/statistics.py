"""What a difference holds, in figures: size, spread, tails, the layers that changed most, cosines between experts.

All figures are of the change as it was learned, before any normalizing, over the numbers of the tensors that changed:
those of a tensor that was not touched are exactly zero and would only dilute them. Sums are in float64. A low-rank
tensor is made dense for its figures, one at a time; norms and cosines of factors need no dense matrix.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import ModelError
from .difference import STRIP, Difference, Factors, inner, learned

if TYPE_CHECKING:
    from torch import Tensor

    from .checkpoint import Checkpoint

GAUSSIAN_BEYOND, GAUSSIAN_KURTOSIS = math.erfc(3 / math.sqrt(2)), 3.0
BINS, REACH = 48, 12.0
"""The histogram: 48 bins of half a sigma from -12 to 12; the outermost hold all beyond."""
SHOWN = 3
REMARK = (
    "a sum over all parameters: the same change of each number gives a norm that grows with the root of their count "
    "(3e9 numbers of 1e-5 have norm 0.55, of 1e-4 5.5), so the relative norm says more"
)


@dataclass(frozen=True)
class Moments:
    """Figures of one set of numbers."""

    count: int
    mean: float
    variance: float
    norm: float
    relative_norm: float | None
    """Beside the norm of the base's own numbers."""
    beyond_3_sigma: float
    """Share further than 3 standard deviations from the mean; of a Gaussian 0.27%."""
    kurtosis: float | None
    """3 for a Gaussian; None where all numbers are equal."""


@dataclass(frozen=True)
class Layer:
    """How far the weights of one layer moved, beside their size."""

    name: str
    norm: float
    relative_norm: float | None


@dataclass(frozen=True)
class Summary:
    """One expert's difference in figures; `as_dict` is what `diff_NAME_summary.json` holds."""

    name: str
    base: str | None
    base_name: str | None
    normalize: str
    scale: float
    num_parameters: int
    """Of the base."""
    whole: Moments
    """Its relative norm is beside the whole base, changed or not."""
    layers: list[Layer]
    tensors: dict[str, Moments]
    ranks: dict[str, int | None]
    histogram: dict[str, list[float]] = field(repr=False)

    @property
    def most_changed(self) -> list[Layer]:
        return sorted(self.layers, key=lambda layer: layer.relative_norm or 0.0, reverse=True)

    @property
    def check(self) -> dict[str, Any]:
        """The line of the source's acceptance table, as it is written there."""
        return {"rule": "norm < 1.0", "found": self.whole.norm, "met": self.whole.norm < 1.0, "remark": REMARK}

    def as_dict(self) -> dict[str, Any]:
        layers = {layer.name: {"norm": layer.norm, "relative_norm": layer.relative_norm} for layer in self.layers}
        return {
            "name": self.name,
            "base": {"fingerprint": self.base, "name_or_path": self.base_name},
            "normalize": self.normalize,
            "norm": self.whole.norm,
            "scale": self.scale,
            "num_parameters": self.num_parameters,
            "whole": asdict(self.whole),
            "gaussian": {"beyond_3_sigma": GAUSSIAN_BEYOND, "kurtosis": GAUSSIAN_KURTOSIS},
            "checks": [self.check],
            "most_changed": [layer.name for layer in self.most_changed],
            "layers": layers,
            "tensors": {name: {**asdict(one), "rank": self.ranks[name]} for name, one in self.tensors.items()},
            "histogram": self.histogram,
        }

    def __str__(self) -> str:
        whole, ranks = self.whole, sorted({rank for rank in self.ranks.values() if rank is not None})
        kind = f"rank {', '.join(map(str, ranks))}" if ranks else "dense"
        if not self.tensors:
            return f"{self.name}: differs in nothing from its base"
        moved = ", ".join(f"{layer.name} {percent(layer.relative_norm)}" for layer in self.most_changed[:SHOWN])
        normal = f", normalized to 1 (times {self.scale:.4g})" if self.normalize == "l2" else ""
        kurtosis = "" if whole.kurtosis is None else f"; kurtosis {whole.kurtosis:.3g} (Gaussian 3)"
        return (
            f"{self.name}: {kind}, {len(self.tensors)} tensors with {whole.count:,} of {self.num_parameters:,} "
            f"numbers; norm {whole.norm:.4g}, {percent(whole.relative_norm)} of the base's{normal}\n"
            f"  beyond 3 sigma {percent(whole.beyond_3_sigma)} (Gaussian 0.27%){kurtosis}; most changed: {moved}\n"
            f"  norm < 1.0: {'met' if self.check['met'] else 'not met'} (depends on the number of parameters)"
        )


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.3g}%"


def base_norms(base: Checkpoint) -> dict[str, float]:
    """Of each learned tensor of the base; read once for all experts."""
    return {name: math.sqrt(_square(base.read(name))) for name in base.names if learned(base, name)}


def _square(tensor: Tensor) -> float:
    return math.fsum(float(strip @ strip) for strip in _strips(tensor))


def summarize(difference: Difference, norms: Mapping[str, float], num_parameters: int) -> Summary:
    """`norms` are those of the base's tensors (`base_norms`), `num_parameters` their numbers in all."""
    raw = difference.restored()
    sums = {name: found for name in raw.names if (found := _sums(raw.dense(name))).square > 0}
    whole = _together(list(sums.values()))
    beyond, counts = _tails(raw, list(sums), whole)
    tensors = {name: _moments(sums[name], norms.get(name), sums[name].beyond) for name in sums}
    return Summary(
        difference.name,
        difference.base,
        difference.base_name,
        "none" if difference.scale == 1.0 else "l2",
        difference.scale,
        num_parameters,
        _moments(whole, math.hypot(*norms.values()), beyond),
        _layers(tensors, norms),
        tensors,
        {name: raw.rank(name) for name in sums},
        {"edges_in_sigma": [i * 2 * REACH / BINS - REACH for i in range(BINS + 1)], "share": counts},
    )


@dataclass(frozen=True)
class _Sums:
    """Count, mean, and sums of powers of the distance from the mean."""

    count: int
    mean: float
    second: float
    third: float
    fourth: float
    beyond: int = 0

    @property
    def square(self) -> float:
        return self.second + self.count * self.mean**2


def _strips(tensor: Tensor) -> Iterator[Tensor]:
    return (strip.double() for strip in tensor.flatten().split(STRIP))


def _sums(tensor: Tensor) -> _Sums:
    count = tensor.numel()
    mean = math.fsum(float(strip.sum()) for strip in _strips(tensor)) / count
    second = third = fourth = 0.0
    for strip in _strips(tensor):
        centred = strip - mean
        square = centred * centred
        second += float(square.sum())
        third += float(square @ centred)
        fourth += float(square @ square)
    limit = 3 * math.sqrt(second / count)
    beyond = sum(int(((strip - mean).abs() > limit).count_nonzero()) for strip in _strips(tensor)) if limit > 0 else 0
    return _Sums(count, mean, second, third, fourth, beyond)


def _together(parts: Sequence[_Sums]) -> _Sums:
    """Of several sets as one: each set's sums moved to the common mean."""
    count = sum(part.count for part in parts)
    if count == 0:
        return _Sums(0, 0.0, 0.0, 0.0, 0.0)
    mean = math.fsum(part.count * part.mean for part in parts) / count
    second, third, fourth = [], [], []
    for part in parts:
        away, n = part.mean - mean, part.count
        second.append(part.second + n * away**2)
        third.append(part.third + 3 * away * part.second + n * away**3)
        fourth.append(part.fourth + 4 * away * part.third + 6 * away**2 * part.second + n * away**4)
    return _Sums(count, mean, math.fsum(second), math.fsum(third), math.fsum(fourth))


def _tails(difference: Difference, names: Sequence[str], whole: _Sums) -> tuple[int, list[float]]:
    """How many numbers lie beyond 3 sigma of the whole, and the share of each bin of its histogram."""
    import torch

    sigma = math.sqrt(whole.second / whole.count) if whole.count else 0.0
    if sigma == 0:
        return 0, [0.0] * BINS
    beyond, counts = 0, torch.zeros(BINS, dtype=torch.int64)
    for name in names:
        for strip in _strips(difference.dense(name)):
            scaled = (strip - whole.mean) / sigma
            beyond += int((scaled.abs() > 3).count_nonzero())
            bins = ((scaled + REACH) * (BINS / (2 * REACH))).clamp(0, BINS - 1).long()
            counts += torch.bincount(bins, minlength=BINS)
    return beyond, (counts / whole.count).tolist()


def _moments(sums: _Sums, base_norm: float | None, beyond: int) -> Moments:
    if sums.count == 0:
        return Moments(0, 0.0, 0.0, 0.0, 0.0, 0.0, None)
    variance, norm = sums.second / sums.count, math.sqrt(sums.square)
    kurtosis = sums.count * sums.fourth / sums.second**2 if sums.second else None
    share = beyond / sums.count
    return Moments(sums.count, sums.mean, variance, norm, norm / base_norm if base_norm else None, share, kurtosis)


def layer_of(name: str) -> str:
    """`model.layers.3` of a tensor in a layer; otherwise the module it belongs to."""
    found = re.match(r"(.*?\.\d+)\.", name)
    return found[1] if found else name.removesuffix(".weight").removesuffix(".bias")


def _layers(tensors: Mapping[str, Moments], norms: Mapping[str, float]) -> list[Layer]:
    """In the base's order of numbers; beside all weights of the layer, whether they changed or not."""
    changed: dict[str, list[float]] = {}
    whole: dict[str, list[float]] = {}
    for name, moments in tensors.items():
        changed.setdefault(layer_of(name), []).append(moments.norm)
    for name, norm in norms.items():
        whole.setdefault(layer_of(name), []).append(norm)
    layers = []
    for layer in sorted(changed, key=_natural):
        norm, size = math.hypot(*changed[layer]), math.hypot(*whole.get(layer, [0.0]))
        layers.append(Layer(layer, norm, norm / size if size else None))
    return layers


def _natural(name: str) -> list[tuple[int, str]]:
    """Layer 10 after layer 9."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]


def cosines(differences: Sequence[Difference]) -> list[list[float | None]]:
    """Between experts, each as one vector; None beside one that changed nothing. A tensor of each at a time."""
    products = _products([difference.restored() for difference in differences])
    norms = [math.sqrt(max(products[i][i], 0.0)) for i in range(len(differences))]

    def cosine(i: int, j: int) -> float | None:
        if norms[i] == 0 or norms[j] == 0:
            return None
        return 1.0 if i == j else max(-1.0, min(1.0, products[i][j] / (norms[i] * norms[j])))

    return [[cosine(i, j) for j in range(len(differences))] for i in range(len(differences))]


def _products(differences: Sequence[Difference]) -> list[list[float]]:
    num = len(differences)
    terms: list[list[list[float]]] = [[[] for _ in range(num)] for _ in range(num)]
    for name in sorted({name for difference in differences for name in difference.names}):
        parts = {i: each.part(name) for i, each in enumerate(differences) if name in each.parts}
        _same_shape(name, {differences[i].name: part for i, part in parts.items()})
        for i, one in parts.items():
            for j, other in parts.items():
                if i <= j:
                    terms[i][j].append(inner(one, other))
    return [[math.fsum(terms[min(i, j)][max(i, j)]) for j in range(num)] for i in range(num)]


def _same_shape(name: str, parts: Mapping[str, Factors | Tensor]) -> None:
    shapes = {expert: tuple(part.shape) for expert, part in parts.items()}
    first = next(iter(shapes))
    for expert, shape in shapes.items():
        if shape != shapes[first]:
            raise ModelError(f"{name} is {list(shape)} for {expert} and {list(shapes[first])} for {first}")
