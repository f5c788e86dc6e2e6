"""What an expert changed: delta = expert - base, by tensor, as low-rank factors where it was learned so.

A LoRA expert's change of a weight is `scale * up @ down`, and stays those two factors: exact, small, and enough for
norms and products. Of two full checkpoints it is subtracted in float32, a tensor at a time. What was not touched is
not there.

Suffixes: o outputs, i inputs, r rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from ..errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

    from .checkpoint import Checkpoint

STRIP = 1 << 15  # numbers that are in float64 at a time: they stay in a cache, and of one thread
VALUE_HEAD = "value_head."
BUFFERS = (".inv_freq", ".masked_bias")
"""Numbers in float32 that are worked out, not learned, and that older files hold."""


@dataclass(frozen=True)
class Factors:
    """`scale * up_or @ down_ri`, both in float32."""

    up: Tensor
    down: Tensor
    scale: float = 1.0

    @property
    def shape(self) -> tuple[int, int]:
        return self.up.shape[0], self.down.shape[1]

    @property
    def rank(self) -> int:
        return self.up.shape[1]

    def dense(self) -> Tensor:
        return self.scale * (self.up @ self.down)

    def norm(self) -> float:
        """Frobenius, through two r x r matrices."""
        return math.sqrt(max(inner(self, self), 0.0))

    def scaled(self, scale: float) -> Factors:
        return replace(self, scale=self.scale * scale)


@dataclass(frozen=True)
class Lazy:
    """One tensor's change, read when it is asked for."""

    shape: tuple[int, ...]
    read: Callable[[], Factors | Tensor]
    rank: int | None = None
    """Of the factors; None when it is dense."""


@dataclass(frozen=True)
class Difference:
    """The change of each touched tensor of a base model, by the name it has in the base's checkpoint."""

    name: str
    base: str | None
    """Fingerprint of the base's weights, where the maker recorded it."""
    base_name: str | None
    parts: Mapping[str, Lazy]
    scale: float = 1.0
    """What every tensor is multiplied by: 1, or 1 / norm after `normalized()`."""

    @property
    def names(self) -> list[str]:
        """Of two full checkpoints all that could differ; some may turn out to be zero."""
        return list(self.parts)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._lazy(name).shape

    def rank(self, name: str) -> int | None:
        """Of its factors; None for a tensor that is dense."""
        return self._lazy(name).rank

    def part(self, name: str) -> Factors | Tensor:
        """Factors, or a dense tensor in float32; refused when it holds a number that is none."""
        part = self._lazy(name).read()
        for tensor in (part.up, part.down) if isinstance(part, Factors) else (part,):
            if not tensor.sum().isfinite() and not tensor.isfinite().all():
                raise ModelError(
                    f"expert {self.name}: the change of {name} holds NaN or an infinite number; the expert or its base "
                    "is damaged or diverged, make it again"
                )
        if self.scale == 1.0:
            return part
        return part.scaled(self.scale) if isinstance(part, Factors) else part * self.scale

    def dense(self, name: str) -> Tensor:
        part = self.part(name)
        return part.dense() if isinstance(part, Factors) else part

    def norm(self) -> float:
        """Of all tensors together, as one vector."""
        return self._raw_norm * abs(self.scale)

    @cached_property
    def _raw_norm(self) -> float:
        whole = self.restored()
        return math.sqrt(math.fsum(norm(whole.part(name)) ** 2 for name in self.parts))

    def normalized(self) -> Difference:
        """Of norm 1 as a whole. Nothing is lost: `restored()` is the same as before, to the bit."""
        raw = self._raw_norm
        if raw == 0:
            raise ModelError(f"expert {self.name} differs in nothing from its base, so it has no norm to divide by")
        return replace(self, scale=1 / raw)

    def restored(self) -> Difference:
        return replace(self, scale=1.0)

    def check_base(self, base: Checkpoint) -> None:
        """Refuse a base that it does not fit: by fingerprint where one was recorded, by names and shapes always."""
        if self.base is not None and self.base != (found := base.fingerprint()):
            raise ModelError(
                f"expert {self.name} was made from a base with fingerprint {self.base}"
                f"{f' ({self.base_name})' if self.base_name else ''}; {base.folder} has {found}. Give its own base"
            )
        for name, lazy in self.parts.items():
            if name not in base:
                raise ModelError(f"expert {self.name} changes {name}, which the base {base.folder} does not have")
            if lazy.shape != base.shape(name):
                raise ModelError(
                    f"expert {self.name}: {name} is {list(lazy.shape)}, in the base {base.folder} "
                    f"{list(base.shape(name))}"
                )

    def _lazy(self, name: str) -> Lazy:
        if name not in self.parts:
            raise ModelError(f"expert {self.name} does not change {name}")
        return self.parts[name]


def norm(part: Factors | Tensor) -> float:
    return part.norm() if isinstance(part, Factors) else math.sqrt(inner(part, part))


def inner(a: Factors | Tensor, b: Factors | Tensor) -> float:
    """The sum of products of two changes of one tensor, in float64; of factors without their dense matrices.

    <U V, X Y> = sum of (U^T X) * (V Y^T), two small matrices.
    """
    if isinstance(a, Factors) and isinstance(b, Factors):
        ups_rr = a.up.double().T @ b.up.double()
        downs_rr = a.down.double() @ b.down.double().T
        return a.scale * b.scale * float((ups_rr * downs_rr).sum())
    if isinstance(a, Factors):
        return inner(b, a)
    if isinstance(b, Factors):
        projected_or = _strips_product(a, b.down)
        return b.scale * float((projected_or * b.up.double()).sum())
    pairs = zip(a.flatten().split(STRIP), b.flatten().split(STRIP), strict=True)
    return math.fsum(float(one.double() @ other.double()) for one, other in pairs)


def _strips_product(a_oi: Tensor, down_ri: Tensor) -> Tensor:
    """`a @ down.T` in float64, a strip of rows at a time."""
    import torch

    rows = max(1, STRIP // a_oi.shape[1])
    return torch.cat([strip.double() @ down_ri.double().T for strip in a_oi.split(rows)])


def learned(checkpoint: Checkpoint, name: str) -> bool:
    """Whether a tensor is a weight of the model itself: no integer, no buffer, no value head beside it."""
    return checkpoint.dtype(name).is_floating_point and not name.endswith(BUFFERS) and not name.startswith(VALUE_HEAD)
