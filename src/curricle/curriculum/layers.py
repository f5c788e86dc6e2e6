"""Which layers learn now, and from which examples? The third dial; the default lets every layer learn from everything.

Two questions, asked at different times:

- `closed`, once an optimizer step: layers that do not move in this step at all.
- `gates`, once a micro batch: for every document and layer, whether the document may teach that layer.

Layers are counted from 0, the one next to the embedding. Embeddings, the final norm and the head belong to no layer:
they always learn, where they are trained at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import RecipeError, RunError

Gates = npt.NDArray[np.bool_]


class Depth:
    """Every layer, every document."""

    gates_documents = False
    """Whether `gates` wants to be asked; the model is made ready for it only then."""

    def closed(self, progress: float, num_layers: int) -> frozenset[int]:
        """Layers that do not learn when `progress` (0 to 1) of the run is done.

        A closed layer still computes; its gradients are dropped before clipping, so neither the gradient norm nor an
        optimizer's moments nor weight decay know of it.
        """
        return frozenset()

    def gates(self, progress: float, examples: Sequence[int], num_layers: int) -> Gates | None:
        """[documents, layers]: whether each document of a micro batch teaches each layer; None: all teach all.

        `examples` are places in the training table.
        """
        return None

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state:
            raise RunError(
                f"the checkpoint holds a depth state ({', '.join(sorted(state))}) but the recipe's depth "
                f"`{type(self).__name__}` has none; resume with the recipe that wrote it, or start a new run"
            )


def stage_of(progress: float, num_stages: int) -> int:
    """The stage, from 0, of a run cut into equal parts; 2 of 3 steps done is the third, however 2 / 3 is rounded."""
    return min(num_stages - 1, math.floor(progress * num_stages + 1e-9))


class StagedLayers(Depth):
    """Opens layers stage by stage.

    `bottom_up` opens the first ceil(L * s / S) layers in stage s of S, `top_down` the last ones; a list names the open
    layers of every stage itself, -1 being the last layer.

    >>> sorted(StagedLayers("bottom_up", 3).closed(0.0, 4)), sorted(StagedLayers("bottom_up", 3).closed(0.5, 4))
    ([2, 3], [3])
    """

    def __init__(self, layers: Literal["bottom_up", "top_down"] | Sequence[Sequence[int]], num_stages: int = 3) -> None:
        if not isinstance(layers, str):
            if not layers or not all(layers):
                raise RecipeError(
                    f"curriculum.layers is {[list(stage) for stage in layers]}: every stage needs a layer that learns"
                )
            num_stages = len(layers)
        if num_stages < 1:
            raise RecipeError(f"curriculum.num_stages is {num_stages}; allowed: 1 or more")
        self.layers, self.num_stages = layers, num_stages

    def closed(self, progress: float, num_layers: int) -> frozenset[int]:
        return frozenset(range(num_layers)) - self.open(stage_of(progress, self.num_stages), num_layers)

    def open(self, stage: int, num_layers: int) -> frozenset[int]:
        """The layers that learn in a stage, counted from 0."""
        if not isinstance(self.layers, str):
            stages = [frozenset(_place(layer, num_layers) for layer in one) for one in self.layers]  # refused at once
            return stages[stage]
        num_open = -(-num_layers * (stage + 1) // self.num_stages)
        return frozenset(range(num_open) if self.layers == "bottom_up" else range(num_layers - num_open, num_layers))


def _place(layer: int, num_layers: int) -> int:
    if not -num_layers <= layer < num_layers:
        raise RecipeError(
            f"curriculum.layers opens layer {layer}, but the model has {num_layers}: 0 to {num_layers - 1}, or from "
            "the end with -1 and below"
        )
    return layer % num_layers
