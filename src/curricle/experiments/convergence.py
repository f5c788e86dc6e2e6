"""When each layer had converged, in shares of a run's tokens, and whether the layers did so together.

A layer's `layer_moved` is the size of its LoRA update. It has converged where it first stays above 90% of what it is at
the end, by straight line between the logged steps; before the first step it is 0:

    tokens         0    100   200   300   400
    layer_moved    0.0  0.6   0.8   1.0   1.0      crosses 0.9 at 250 tokens of 400: 0.625
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SHARE = 0.9
"""Of the last value."""
MOVED = "layer_moved"


def converged_at(steps: Sequence[Mapping[str, Any]]) -> list[float | None]:
    """For each layer, from a run's log of steps: a share of its tokens, None where it did not move. Empty where updates
    were not logged: only LoRA's are, as a full training's would take a copy of the model."""
    logged = [step for step in steps if step.get(MOVED)]
    if not logged:
        return []
    tokens = [0.0, *(float(step["tokens"]) for step in logged)]
    return [_crossing(tokens, [0.0, *sizes]) for sizes in zip(*(step[MOVED] for step in logged), strict=True)]


def _crossing(tokens: Sequence[float], sizes: Sequence[float]) -> float | None:
    enough = SHARE * sizes[-1]
    if not enough > 0:
        return None
    below = max(place for place, size in enumerate(sizes) if size < enough)
    part = (enough - sizes[below]) / (sizes[below + 1] - sizes[below])
    return (tokens[below] + part * (tokens[below + 1] - tokens[below])) / tokens[-1]


def spread(shares: Sequence[float | None]) -> float | None:
    """The largest less the smallest over the layers that moved; None of fewer than two."""
    known = [share for share in shares if share is not None]
    return max(known) - min(known) if len(known) > 1 else None
