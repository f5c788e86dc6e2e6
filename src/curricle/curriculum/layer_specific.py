"""Layer-specific curricula: each layer learns from the examples that are easy *for it*, by its own difference.

The label file holds, for every example, how far the edge model's state lies from the cloud model's at each edge layer.
Ranked layer by layer, these differences give every layer an order of its own:

    easier ones   layer 0   layer 1      at a share of 0.5   layer 0   layer 1
    example a        0         2                                x         .       a teaches layer 0 only
    example b        1         0                                x         x
    example c        2         1                                .         x
    example d        3         3                                .         .       is not drawn at all

The order draws what at least one layer admits (`AnyLayer`); the depth says which layers it teaches (`LayerSpecific`).

Suffixes: n examples, l layers of the labels, d documents of a micro batch.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import RecipeError, RunError
from ..runtime.progress import say
from .layers import Depth, Gates, stage_of
from .order import Mask, Order
from .ranks import Counts, num_easier


def layer_ranks(differences_nl: npt.NDArray[Any]) -> Counts:
    """For each layer by itself, how many examples are strictly easier than each.

    >>> layer_ranks(np.array([[1.0], [5.0], [3.0], [3.0]])).ravel().tolist()
    [0, 3, 1, 1]
    """
    return np.stack([num_easier(difference_n) for difference_n in differences_nl.T], axis=1)


class LayerPace:
    """The share of the examples, easiest first, that each layer admits at a point of the run.

    All layers follow the stage percentiles. With `delay` the last layer starts that share of the run later than the
    first, and layers between lie between; all of them have reached the last stage when the run ends.
    """

    def __init__(self, stage_percentiles: Sequence[float] = (0.33, 0.66, 1.0), delay: float = 0.0) -> None:
        steps = list(stage_percentiles)
        if not steps or steps[0] <= 0 or steps[-1] != 1 or steps != sorted(steps):
            raise RecipeError(f"curriculum.stage_percentiles is {steps}; they must rise from above 0 to 1")
        if not 0 <= delay < 1:
            raise RecipeError(f"curriculum.layer_delay is {delay}; allowed: 0 up to, but not including, 1")
        self.percentiles, self.delay = tuple(steps), delay

    def shares(self, progress: float, num_layers: int) -> tuple[float, ...]:
        """One a layer."""
        last = max(1, num_layers - 1)
        own = ((progress - self.delay * layer / last) / (1 - self.delay) for layer in range(num_layers))
        return tuple(self.percentiles[stage_of(min(1.0, max(0.0, t)), len(self.percentiles))] for t in own)


class AnyLayer(Order):
    """Shuffled passes over the examples that at least one layer admits."""

    def __init__(self, easier_nl: Counts, pace: LayerPace) -> None:
        self.easier_nl, self.pace = easier_nl, pace
        self._shares: tuple[float, ...] = ()
        self._admitted: Mask | None = None

    def admitted(self, progress: float) -> Mask | None:
        shares = self.pace.shares(progress, self.easier_nl.shape[1])
        if shares != self._shares:  # they change a few times in a run, and progress at every step
            self._shares, self._admitted = shares, None
            if min(shares) < 1:
                self._admitted = np.any(_admits(self.easier_nl, shares, len(self.easier_nl)), axis=1)
                self._admitted.setflags(write=False)
        return self._admitted

    def metrics(self) -> dict[str, float]:
        """The share of examples that some layer admits."""
        return {"admitted_share": 1.0 if self._admitted is None else float(self._admitted.mean())}

    def state_dict(self) -> dict[str, Any]:
        return {"labels_crc32": zlib.crc32(self.easier_nl.data)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        _check(type(self).__name__, state, self.easier_nl)


class LayerSpecific(Depth):
    """A document teaches a layer when it is among the easiest share that the layer admits.

    `opened` may close whole layers besides. Labels with another number of layers than the model are read at the same
    relative depth, and that is said.
    """

    gates_documents = True

    def __init__(self, easier_nl: Counts, pace: LayerPace, opened: Depth | None = None) -> None:
        self.easier_nl, self.pace, self.opened = easier_nl, pace, opened or Depth()
        self._places: dict[int, npt.NDArray[np.int64]] = {}

    def closed(self, progress: float, num_layers: int) -> frozenset[int]:
        return self.opened.closed(progress, num_layers)

    def gates(self, progress: float, examples: Sequence[int], num_layers: int) -> Gates | None:
        shares = self.pace.shares(progress, self.easier_nl.shape[1])
        if min(shares) >= 1:
            return None
        return _admits(self.easier_nl[list(examples)], shares, len(self.easier_nl))[:, self._label_layers(num_layers)]

    def state_dict(self) -> dict[str, Any]:
        return {"labels_crc32": zlib.crc32(self.easier_nl.data)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        _check(type(self).__name__, state, self.easier_nl)

    def _label_layers(self, num_layers: int) -> npt.NDArray[np.int64]:
        """For each layer of the model, the layer of the labels that it reads."""
        if num_layers not in self._places:
            num_labels = self.easier_nl.shape[1]
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


def _admits(easier: Counts, shares: Sequence[float], num: int) -> Gates:
    """Whether each layer admits each example of `num`; (k / n) * n is not always k, so near whole numbers are whole."""
    limits = np.asarray(shares) * num
    return easier < np.where(np.abs(limits - np.round(limits)) < 1e-6, np.round(limits), limits)


def _check(kind: str, state: dict[str, Any], easier_nl: Counts) -> None:
    if state.get("labels_crc32") != zlib.crc32(easier_nl.data):
        raise RunError(
            f"the layers' labels of `{kind}` are not those of the checkpoint; resume with the label file and the "
            "strategy the run began with, or start a new run"
        )
