"""Self-paced learning (Kumar et al. 2010): an example takes part while its loss is below a bound, and the bound grows.

Loss and set are settled in turn, as published: the set is chosen from the losses last seen, and then stands until the
bound grows. An example never seen takes part, so the first part of a run goes through the whole set. However low the
bound, the easiest hundredth takes part.
"""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import RunError
from .order import Mask, Order

LEAST = 0.01


class SelfPaced(Order):
    observes = True

    def __init__(
        self,
        num_examples: int,
        num_steps: int,
        bound: float = 2.0,
        factor: float = 1.3,
        every: float = 0.1,
    ) -> None:
        self.losses = np.full(num_examples, np.nan, dtype=np.float32)
        """The loss of each example when it was last seen; NaN: never."""
        self.num_steps, self.bound, self.factor, self.every = max(1, num_steps), bound, factor, every
        self._mask: Mask | None = None
        self._level = 0
        self._choose()

    def bound_of(self, level: int) -> float:
        return self.bound * self.factor**level

    def admitted(self, progress: float) -> Mask | None:
        return self._mask

    def observe(self, step: int, ids: Sequence[int], losses: Sequence[float]) -> None:
        self.losses[list(ids)] = losses
        level = math.floor(step / self.num_steps / self.every + 1e-9)
        if level > self._level:
            self._level = level
            self._choose()

    def _choose(self) -> None:
        known = ~np.isnan(self.losses)
        bound = self.bound_of(self._level)
        if known.all():
            bound = max(bound, float(np.quantile(self.losses, LEAST, method="higher")) * (1 + 1e-6))
        mask = ~known | (self.losses < bound)
        mask.setflags(write=False)
        self._mask = None if mask.all() else mask

    def metrics(self) -> dict[str, float]:
        share = 1.0 if self._mask is None else float(self._mask.mean())
        return {"admitted_share": share, "loss_bound": self.bound_of(self._level)}

    def state_dict(self) -> dict[str, Any]:
        mask = None if self._mask is None else _text(np.packbits(self._mask))
        return {"level": self._level, "losses": _text(self.losses), "mask": mask}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if "losses" not in state:
            raise RunError("the checkpoint was not written by self_paced; resume with its recipe, or start a new run")
        self._level = state["level"]
        self.losses = np.frombuffer(_bytes(state["losses"]), dtype=np.float32).copy()
        if state["mask"] is None:
            self._mask = None
        else:
            bits = np.frombuffer(_bytes(state["mask"]), dtype=np.uint8)
            self._mask = np.unpackbits(bits, count=len(self.losses)).astype(bool)
            self._mask.setflags(write=False)


def _text(array: npt.NDArray[Any]) -> str:
    return base64.b64encode(zlib.compress(array.data, level=1)).decode()


def _bytes(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))
