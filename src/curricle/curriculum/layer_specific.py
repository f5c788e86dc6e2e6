"""Layer-specific curricula: each layer learns from the examples that are easy *for it*, by its own difference.

The label file holds, for every example, how far the edge model's state lies from the cloud model's at each edge layer.
Ranked layer by layer, these differences give every layer an order of its own:

    ranks       layer 0   layer 1        open at 0.5      layer 0   layer 1
    example a     0.25      0.75                             x         .        a teaches layer 0 only
    example b     0.50      0.25                             x         x
    example c     0.75      0.50                             .         x
    example d     1.00      1.00                             .         .        is not drawn at all

The order draws what at least one layer admits (`AnyLayer`); the depth says which layers it teaches (`LayerSpecific`).

Suffixes: n examples, l layers, d documents of a micro batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import RecipeError
from ..runtime.progress import say
from .layers import Depth, Gates, stage_of
from .order import Mask, Order

Ranks = npt.NDArray[np.float32]


def layer_ranks(differences_nl: npt.NDArray[Any]) -> Ranks:
    """Each layer's percentile ranks in (0, 1]: the share of examples that are as easy or easier; equal ones share the
    mean of their places.

    >>> layer_ranks(np.array([[1.0], [5.0], [3.0], [3.0]])).ravel().tolist()
    [0.25, 1.0, 0.625, 0.625]
    """
    ranks_nl = np.empty(differences_nl.shape, dtype=np.float32)
    for layer, difference_n in enumerate(differences_nl.T):
        _, inverse_n, counts = np.unique(difference_n, return_inverse=True, return_counts=True)
        places = np.cumsum(counts) - (counts - 1) / 2
        ranks_nl[:, layer] = (places / len(difference_n))[inverse_n]
    return ranks_nl


class LayerPace:
    """The rank up to which each layer admits, at a point of the run.

    All layers follow the stage percentiles. With `delay` the last layer starts that share of the run later than the
    first, and layers between lie between; all of them have reached the last stage when the run ends.
    """

    def __init__(self, stage_percentiles: Sequence[float] = (0.33, 0.66, 1.0), delay: float = 0.0) -> None:
        steps = list(stage_percentiles)
        if not steps or steps[0] <= 0 or steps[-1] != 1 or steps != sorted(set(steps)):
            raise RecipeError(f"curriculum.stage_percentiles is {steps}; they must rise from above 0 to 1")
        if not 0 <= delay < 1:
            raise RecipeError(f"curriculum.layer_delay is {delay}; allowed: 0 up to, but not including, 1")
        self.percentiles, self.delay = tuple(steps), delay

    def limits(self, progress: float, num_layers: int) -> tuple[float, ...]:
        """One rank a layer: it admits examples up to and with this one."""
        last = max(1, num_layers - 1)
        own = ((progress - self.delay * layer / last) / (1 - self.delay) for layer in range(num_layers))
        return tuple(self.percentiles[stage_of(min(1.0, max(0.0, t)), len(self.percentiles))] for t in own)


class AnyLayer(Order):
    """Shuffled passes over the examples that at least one layer admits."""

    def __init__(self, ranks_nl: Ranks, pace: LayerPace) -> None:
        self.ranks_nl, self.pace = ranks_nl, pace
        self._limits: tuple[float, ...] = ()
        self._admitted: Mask | None = None

    def admitted(self, progress: float) -> Mask | None:
        limits = self.pace.limits(progress, self.ranks_nl.shape[1])
        if limits != self._limits:  # they change a few times in a run, and progress at every step
            self._limits = limits
            self._admitted = None if min(limits) >= 1 else np.any(_up_to(self.ranks_nl, limits), axis=1)
        return self._admitted


class LayerSpecific(Depth):
    """A document teaches a layer when the layer's own rank of it lies within the layer's limit.

    `opened` may close whole layers besides. Labels with another number of layers than the model are read at the same
    relative depth, and that is said.
    """

    gates_documents = True

    def __init__(self, ranks_nl: Ranks, pace: LayerPace, opened: Depth | None = None) -> None:
        self.ranks_nl, self.pace, self.opened = ranks_nl, pace, opened or Depth()
        self._places: dict[int, npt.NDArray[np.int64]] = {}

    def closed(self, progress: float, num_layers: int) -> frozenset[int]:
        return self.opened.closed(progress, num_layers)

    def gates(self, progress: float, examples: Sequence[int], num_layers: int) -> Gates | None:
        limits = self.pace.limits(progress, self.ranks_nl.shape[1])
        if min(limits) >= 1:
            return None
        return _up_to(self.ranks_nl[list(examples)], limits)[:, self._label_layers(num_layers)]

    def _label_layers(self, num_layers: int) -> npt.NDArray[np.int64]:
        """For each layer of the model, the layer of the labels that it reads."""
        if num_layers not in self._places:
            num_labels = self.ranks_nl.shape[1]
            if num_labels != num_layers:
                say(
                    f"the labels hold {num_labels} layers and the model {num_layers}: each layer of the model goes by "
                    "the labels' layer at the same relative depth"
                )
            self._places[num_layers] = matched_layers(num_layers, num_labels)
        return self._places[num_layers]


def matched_layers(num_layers: int, num_labels: int) -> npt.NDArray[np.int64]:
    """The labels' layer of each layer of a model: for layer i of L, counted from 1, round(i * labels / L).

    >>> (matched_layers(2, 4).tolist(), matched_layers(4, 2).tolist())
    ([1, 3], [0, 0, 1, 1])
    """
    places = np.floor(np.arange(1, num_layers + 1) * num_labels / num_layers + 0.5).astype(np.int64)
    return np.clip(places, 1, num_labels) - 1


def _up_to(ranks: Ranks, limits: Sequence[float]) -> Gates:
    """The small allowance keeps a share like 2/3 of 3 examples from depending on how it was rounded."""
    return ranks <= np.asarray(limits, dtype=np.float32) + np.float32(1e-6)
