"""One base model in memory whose weights become those of any mixture of its experts, and the base's again.

    W = W0 + sum_i w_i s_i up_i down_i + sum_j w_j D_j         i: experts in factors, j: experts in whole tensors

                       [w_1 s_1 up_1 | w_2 s_2 up_2 | ...]     the columns of all experts side by side, scaled,
    one product:   W0 + ---------------------------------- @   times the rows of all experts one below the other
                       [down_1 / down_2 / ...]

W0 is kept once, in float32, for the tensors that an expert changes; a model in half precision is rounded once, at the
end. Every setting starts from W0, so the same weights give the same bits whatever was set before, and weights of 0, and
leaving the block, give the base's bits back.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...errors import ModelError, RecipeError, nearest
from ...runtime.fingerprint import fingerprint
from .config import Normalize

if TYPE_CHECKING:
    from ..difference import Difference, Factors


def weights_to_apply(weights: Mapping[str, float], normalize: Normalize) -> dict[str, float]:
    """Weights as they are added: as given, or over their sum.

    >>> weights_to_apply({"law": 0.5, "news": 1.5}, "sum1")
    {'law': 0.25, 'news': 0.75}
    """
    for name, weight in weights.items():
        if not math.isfinite(weight):
            raise RecipeError(f"the weight of `{name}` is {weight}; give a number")
    if normalize == "none":
        return dict(weights)
    total = math.fsum(weights.values())
    if abs(total) < 1e-12:
        given = ", ".join(f"{name}={weight:g}" for name, weight in weights.items())
        raise RecipeError(f"the weights ({given}) sum to 0, so sum1 has nothing to divide by; use normalize none")
    return {name: weight / total for name, weight in weights.items()}


@dataclass
class _Touched:
    """One tensor that experts change, and what they add to it."""

    name: str
    parameter: nn.Parameter
    base: Tensor
    ups: list[Tensor] = field(default_factory=list)
    downs: list[Tensor] = field(default_factory=list)
    scales: list[Tensor] = field(default_factory=list)
    owners: list[Tensor] = field(default_factory=list)
    """For each column of `ups`: the number of its expert."""
    whole: dict[int, Tensor] = field(default_factory=dict)

    def add(self, expert: int, part: Factors | Tensor) -> None:
        place = self.base.device
        if isinstance(part, Tensor):
            self.whole[expert] = part.to(place, torch.float32)
            return
        self.ups.append(part.up.to(place, torch.float32))
        self.downs.append(part.down.to(place, torch.float32))
        rank = part.up.shape[1]
        self.scales.append(torch.full((rank,), float(part.scale), device=place))
        self.owners.append(torch.full((rank,), expert, device=place))

    def close(self) -> None:
        """The factors of all experts side by side."""
        if self.ups:
            self.ups = [torch.cat(self.ups, 1)]
            self.downs = [torch.cat(self.downs)]
            self.scales, self.owners = [torch.cat(self.scales)], [torch.cat(self.owners)]

    def set(self, weights_e: Tensor, weights: Sequence[float]) -> None:
        whole = self.parameter.data
        out = whole if whole.dtype == torch.float32 else torch.empty_like(self.base)
        if self.ups:
            scale_r = weights_e[self.owners[0]] * self.scales[0]
            torch.addmm(self.base, self.ups[0] * scale_r, self.downs[0], out=out)
        else:
            out.copy_(self.base)
        for expert, tensor in self.whole.items():
            out.add_(tensor, alpha=weights[expert])
        if out is not whole:
            whole.copy_(out)

    def restore(self) -> None:
        self.parameter.data.copy_(self.base)


class Mixture:
    """A model whose weights are base + sum of w_i * difference_i. Leaving the block restores the base.

    >>> with Mixture(model, {"law": law, "news": news}) as mixture:  # doctest: +SKIP
    ...     mixture.set({"law": 0.4, "news": 0.9})
    ...     losses = token_losses_of(model, table, rows)
    """

    def __init__(self, model: nn.Module, differences: Mapping[str, Difference]) -> None:
        if not differences:
            raise RecipeError("there are no experts to mix; name at least one")
        self.model, self.names = model, list(differences)
        self._touched = _touched_tensors(model, differences)

    def set(self, weights: Mapping[str, float]) -> None:
        """Give the model these weights of its experts; one that is not named counts 0."""
        for name in weights:
            if name not in self.names:
                hint = nearest(name, self.names)
                raise RecipeError(f"a weight is given for `{name}`, and no expert is called that; {hint}")
        in_order = [float(weights.get(name, 0.0)) for name in self.names]
        if not any(in_order):
            self.restore()
            return
        with torch.no_grad():
            by_device: dict[torch.device, Tensor] = {}
            for tensor in self._touched:
                place = tensor.base.device
                if place not in by_device:
                    by_device[place] = torch.tensor(in_order, dtype=torch.float32, device=place)
                tensor.set(by_device[place], in_order)

    def restore(self) -> None:
        """The base's weights, bit for bit."""
        with torch.no_grad():
            for tensor in self._touched:
                tensor.restore()

    def __enter__(self) -> Mixture:
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()

    def fingerprint(self) -> str:
        """Of the base's weights and of what every expert adds, by their values. Taken while the base is set."""
        self.restore()
        base = [(name, _digest(tensor)) for name, tensor in sorted(self.model.state_dict().items())]
        added = [
            (tensor.name, [_digest(part) for part in _all_parts(tensor)], sorted(tensor.whole))
            for tensor in self._touched
        ]
        return fingerprint(base, self.names, added)


def _touched_tensors(model: nn.Module, differences: Mapping[str, Difference]) -> list[_Touched]:
    """What the experts change, in the order of the model: names that share storage are one tensor."""
    known = dict(model.named_parameters(remove_duplicate=False))
    touched: dict[int, _Touched] = {}
    seen: dict[tuple[int, int], str] = {}
    for number, (expert, difference) in enumerate(differences.items()):
        for name in difference.names:
            if name not in known:
                raise ModelError(
                    f"the expert `{expert}` changes `{name}`, which the base lacks ({nearest(name, known)}); experts "
                    "are mixed with the base that they were trained from"
                )
            parameter, part = known[name], difference.part(name)
            _check_shape(expert, name, part, parameter)
            if (twin := seen.setdefault((number, id(parameter)), name)) != name:
                _refuse_two_of_one(expert, twin, name, difference, part)
                continue
            if isinstance(part, Tensor) and not part.any():
                continue  # of a full checkpoint every tensor has a name, changed or not
            if id(parameter) not in touched:
                touched[id(parameter)] = _Touched(name, parameter, parameter.detach().to(torch.float32, copy=True))
            touched[id(parameter)].add(number, part)
    order = {id(parameter): place for place, parameter in enumerate(known.values())}
    tensors = sorted(touched.values(), key=lambda tensor: order[id(tensor.parameter)])
    for tensor in tensors:
        tensor.close()
    return tensors


def _check_shape(expert: str, name: str, part: Factors | Tensor, parameter: nn.Parameter) -> None:
    found = tuple(part.shape)
    if found != tuple(parameter.shape):
        raise ModelError(
            f"the expert `{expert}` changes `{name}` of shape {list(found)}, and the base's is "
            f"{list(parameter.shape)}; experts are mixed with the base that they were trained from"
        )


def _refuse_two_of_one(expert: str, twin: str, name: str, difference: Difference, part: Factors | Tensor) -> None:
    """Two names of one tied tensor count once, and must say the same."""
    first = difference.dense(twin)
    if not torch.equal(first, part if isinstance(part, Tensor) else part.dense()):
        raise ModelError(
            f"the base ties `{twin}` and `{name}`, and the expert `{expert}` changes them differently; untie them in "
            "the base's config, or leave one of them out of the expert"
        )


def _all_parts(tensor: _Touched) -> Iterator[Tensor]:
    yield from (*tensor.ups, *tensor.downs, *tensor.scales, *tensor.owners)
    yield from (tensor.whole[expert] for expert in sorted(tensor.whole))


def _digest(tensor: Tensor) -> str:
    flat = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8)
    return hashlib.sha256(flat.numpy().data).hexdigest()
