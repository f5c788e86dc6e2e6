"""What may be asked of a merge besides its experts and their weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from ...errors import RecipeError, nearest

Method = Literal["linear", "task_arithmetic", "uniform", "ties", "dare_linear", "dare_ties"]
Normalize = Literal["none", "sum1"]
Dtype = Literal["float32", "bfloat16", "float16"]
Rounding = Literal["nearest", "stochastic"]
METHODS: tuple[str, ...] = get_args(Method)
SPARSE = ("ties", "dare_linear", "dare_ties")
"""They look at a whole tensor at once; the others make each number on its own."""
GIGABYTE = 10**9
_HOW = {"weight": " (NAME=PATH@WEIGHT)", "density": ""}


@dataclass(frozen=True)
class MergeSettings:
    """How differences are thinned and how the result is written."""

    density: float | Mapping[str, float] | None = None
    """For `ties` and the `dare` methods: the share of each difference that is kept, for all experts or by name."""
    scale: float = 1.0
    """Times the sum of all: the lambda of task arithmetic and TIES."""
    dtype: Dtype | None = None
    """Precision of the weights; None leaves each tensor in the base's own."""
    rounding: Rounding = "nearest"
    """`stochastic`: up or down at random in proportion, so that small changes are kept in the mean."""
    seed: int = 0
    """Of stochastic rounding and of what DARE drops."""
    max_shard_bytes: int = 5 * GIGABYTE
    """A file is at most this large, unless one tensor is larger."""

    def __post_init__(self) -> None:
        for key, choices in (("dtype", (None, *get_args(Dtype))), ("rounding", get_args(Rounding))):
            if getattr(self, key) not in choices:
                known = ", ".join(str(choice) for choice in choices if choice is not None)
                raise RecipeError(f"{key} is {getattr(self, key)!r}; known: {known}")
        if not math.isfinite(self.scale):
            raise RecipeError(f"the scale is {self.scale}; give a number")
        if self.max_shard_bytes <= 0:
            raise RecipeError(f"a file of at most {self.max_shard_bytes} bytes holds nothing; give a size above 0")


def densities_of(settings: MergeSettings, method: str, experts: list[str]) -> tuple[float, ...]:
    """One for each expert, where the method thins; nothing where it does not."""
    asked = settings.density
    if method not in SPARSE:
        if asked is not None:
            raise RecipeError(f"density is for {', '.join(SPARSE)}; the method {method} keeps every number")
        return ()
    if asked is None:
        raise RecipeError(f"{method} needs a density, the share of each difference that is kept, such as 0.2")
    by_name = dict(asked) if isinstance(asked, Mapping) else dict.fromkeys(experts, asked)
    check_names(by_name, experts, "density")
    for name, density in by_name.items():
        if not 0 < density <= 1:
            raise RecipeError(f"the density of `{name}` is {density}; it is a share above 0 and at most 1")
    return tuple(by_name[name] for name in experts)


def weights_of(
    weights: Mapping[str, float] | None, method: str, normalize: str, experts: list[str]
) -> tuple[float, ...]:
    """One for each expert, as asked; of a uniform mean one divided by their number."""
    if not experts:
        raise RecipeError("a merge needs at least one expert: NAME=PATH@WEIGHT")
    if method not in METHODS:
        raise RecipeError(f"there is no method `{method}`; {nearest(method, METHODS)}")
    if normalize not in get_args(Normalize):
        raise RecipeError(f"normalize is `{normalize}`; known: none (used as they are), sum1 (divided by their sum)")
    if method == "uniform":
        if weights:
            raise RecipeError("method uniform weighs all experts alike; leave the weights away, or take method linear")
        return (1 / len(experts),) * len(experts)
    check_names(weights or {}, experts, "weight")
    asked = tuple(float((weights or {})[name]) for name in experts)
    for name, weight in zip(experts, asked, strict=True):
        if not math.isfinite(weight):
            raise RecipeError(f"the weight of `{name}` is {weight}; give a number")
    if normalize == "sum1" and abs(math.fsum(asked)) < 1e-8:
        raise RecipeError(f"the weights sum to {math.fsum(asked):g}, by which sum1 cannot divide; take normalize none")
    return asked


def effective(weights: Mapping[str, float], normalize: str, scale: float) -> dict[str, float]:
    """What each difference is multiplied by in the end."""
    total = math.fsum(weights.values()) if normalize == "sum1" else 1.0
    return {name: scale * weight / total for name, weight in weights.items()}


def check_names(given: Mapping[str, float], experts: list[str], what: str) -> None:
    """Neither more nor fewer than the experts."""
    for name in given:
        if name not in experts:
            raise RecipeError(f"`{name}` has a {what} but is no expert; {nearest(name, experts)}")
    for name in experts:
        if name not in given:
            raise RecipeError(f"the expert `{name}` has no {what}; every expert needs one{_HOW[what]}")
