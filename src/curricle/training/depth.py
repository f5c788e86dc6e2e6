"""Applies the depth dial to a model: a closed layer's gradients are gone before anyone looks at them."""

from __future__ import annotations

import re

from torch import nn

from ..curriculum.layers import Depth

# The place of a block in its stack, in the parameter names of transformers' models: `model.layers.3.`, `h.3.`, ...
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")


def layer_of(name: str) -> int | None:
    """The block that a parameter belongs to; None for embeddings, final norm and head."""
    match = _LAYER.search(name)
    return int(match.group(1)) if match else None


def close_layers(model: nn.Module, depth: Depth, progress: float) -> None:
    """Drop the gradients of the layers that do not learn now. `None`, not zero: zero still moves Adam's moments."""
    if type(depth) is Depth:
        return
    places = {name: layer_of(name) for name, _ in model.named_parameters()}
    num_layers = 1 + max((place for place in places.values() if place is not None), default=-1)
    closed = depth.closed(progress, num_layers)
    for name, parameter in model.named_parameters():
        if places[name] in closed:
            parameter.grad = None
