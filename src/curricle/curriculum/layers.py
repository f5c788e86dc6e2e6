"""Which layers learn now? The third dial's hook: the uniform default lets every layer learn, always."""

from __future__ import annotations

from typing import Any


class Depth:
    """Names the layers that do not learn at a point of the run.

    A closed layer still computes; its gradients are dropped before clipping, so neither the gradient norm nor Adam's
    moments nor weight decay know of it.
    """

    def closed(self, progress: float, num_layers: int) -> frozenset[int]:
        """Layers (0 is the first) that do not learn when `progress` (0 to 1) of the run is done."""
        return frozenset()

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state:
            raise ValueError(f"{type(self).__name__} keeps no state, but the checkpoint holds {sorted(state)}")
