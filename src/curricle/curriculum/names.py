"""The source's names for order and depth, for loops that are written by hand and go by epochs.

A run of a recipe goes by steps, and resumes to the step; see `curriculum.build` and `training.batches`. Here the same
orders are asked once an epoch:

    epoch e of N      progress e / N
    what is admitted  order.admitted(progress)
    its sequence      order.arrange(admitted, generator named by (seed, "order", e)), as pass e of a stream has it

Suffixes: n examples, l layers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import PrivateAttr, ValidationError

from ..errors import RecipeError, RunError, nearest
from ..runtime.seeds import numpy_generator
from . import config as recipe
from .build import Facts, build_order
from .config import MIXES
from .difficulties import Difficulties, as_difficulties
from .layer_specific import AnyLayer, LayerPace, LayerSpecific, layer_ranks
from .layers import Depth, Gates, StagedLayers
from .order import Ids, Order
from .ranks import percentile_ranks, under_control

GIVEN = "given"
BY_STEPS = frozenset(("self_paced", *MIXES))


class CurriculumConfig(recipe.CurriculumConfig):
    """The `curriculum:` section of a recipe in Python, with the same keys; `labels` need not be named, as difficulties
    are handed over beside the data set.

    >>> CurriculumConfig(strategy="hybrid", num_stages=3, stage_percentiles=[0.3, 0.6, 1.0]).percentiles()
    [0.3, 0.6, 1.0]
    """

    labels: str | None = GIVEN
    """Not used: difficulties are handed over."""
    _losses: dict[int, float] = PrivateAttr(default_factory=dict)

    def __init__(self, **keys: Any) -> None:
        known = type(self).model_fields
        for name in keys:
            if name not in known:
                raise RecipeError(f"CurriculumConfig has no `{name}`; {nearest(name, known)}")
        try:
            super().__init__(**keys)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key, message = ".".join(map(str, first["loc"])), str(first["msg"]).removeprefix("Value error, ")
            told = f"`{key}` is {first['input']!r}: {message}" if key else message
            raise RecipeError(f"CurriculumConfig: {told}") from error

    def remember(self, epoch: int, current_loss: float | None) -> list[float | None]:
        """The losses known when each epoch up to this one began. They stay with this config, so that a loop that makes
        a loader an epoch needs to hand over the last loss only; epoch 0 begins anew."""
        if epoch == 0:
            self._losses.clear()
        if current_loss is not None and math.isfinite(current_loss):
            self._losses[epoch] = float(current_loss)
        return [self._losses.get(one) for one in range(epoch + 1)]


class LayerSpecificCurriculumScheduler(LayerSpecific):
    """Each layer learns from the examples that are easy for it, by its own difference between the two models.

    A depth for a Trainer, whose order is `order`: `Trainer(..., order=scheduler.order, depth=scheduler)`. A loop of
    one's own asks `gates`.

    >>> scheduler = LayerSpecificCurriculumScheduler([[0.1, 9.0], [0.2, 1.0]], stage_percentiles=[0.5, 1.0])
    >>> scheduler.gates(0.0, [0, 1], num_layers=2).tolist()
    [[True, False], [False, True]]
    """

    def __init__(
        self,
        layer_differences: npt.ArrayLike,
        stage_percentiles: Sequence[float] = (0.33, 0.66, 1.0),
        layer_delay: float = 0.0,
        opened: Depth | None = None,
    ) -> None:
        layers_nl = np.asarray(layer_differences, dtype=np.float32)
        if layers_nl.ndim != 2 or not layers_nl.size or not np.isfinite(layers_nl).all():
            raise RecipeError(
                f"layer_differences has the shape {list(layers_nl.shape)}; needed: a finite number for every example "
                "and layer, [examples, layers]"
            )
        super().__init__(layer_ranks(layers_nl), LayerPace(stage_percentiles, layer_delay), opened)
        self.order = AnyLayer(self.easier_nl, self.pace)
        """Draws what at least one layer admits."""


class CurriculumTrainingScheduler:
    """What an epoch trains on, and which layers: the strategy of a config over the difficulties of a data set.

    `difficulties` has an entry a row: numbers, labels, or what `load_difficulties` gives; with `dataset` they are found
    by the ids of its rows. `num_epochs` is the run's length, by default the number of stages. `observe` tells it an
    epoch's loss, which dynamic_pacing and hybrid go by.

    >>> scheduler = CurriculumTrainingScheduler(CurriculumConfig(strategy="hybrid"), [0.3, 0.1, 0.2])
    >>> scheduler.epoch_order(0).tolist()
    [1]
    """

    def __init__(
        self,
        config: recipe.CurriculumConfig,
        difficulties: Any,
        *,
        dataset: Any = None,
        num_epochs: int | None = None,
        seed: int = 0,
    ) -> None:
        if config.strategy in BY_STEPS or config.strategy == "length_ramp":
            raise RecipeError(
                f"strategy `{config.strategy}` goes by steps, not by epochs; use it in a recipe, or give its order to "
                "`Trainer(order=...)`"
            )
        if num_epochs is not None and num_epochs < 1:
            raise RecipeError(f"num_epochs is {num_epochs}; allowed: 1 or more")
        if "loss_decay" not in config.model_fields_set:
            config = config.model_copy(update={"loss_decay": 0.0})  # an epoch's loss is a mean already
        self.config, self.seed, self.num_epochs = config, seed, num_epochs or config.num_stages
        known = as_difficulties(difficulties)
        rows = dataset if dataset is not None else range(len(known))
        self.num_examples = len(rows)
        self.order, self.depth = self._build(known, rows)
        self.losses: list[float | None] = []

    def _build(self, known: Difficulties, rows: Any) -> tuple[Order, Depth]:
        config = self.config
        layers = config.opened_layers()
        opened = Depth() if layers == "all" else StagedLayers(layers, config.num_stages)  # type: ignore[arg-type]
        self.layers_nl = None if known.labels.layers is None else known.layers_of(rows)
        if config.strategy == "layer_specific":
            layers_nl = known.layers_of(rows) if self.layers_nl is None else self.layers_nl
            layers_nl = under_control(layers_nl, config.control, self.seed)
            depth = LayerSpecificCurriculumScheduler(layers_nl, config.percentiles(), config.layer_delay, opened)
            self.difficulty_n = layers_nl.mean(1)
            return depth.order, depth
        self.difficulty_n = known.of(rows, config.score())
        lengths_n = np.ones(self.num_examples, dtype=np.int64)  # no strategy that is left reads them
        return build_order(config, Facts(lengths_n, self.num_epochs, self.seed, self.difficulty_n)), opened

    def progress(self, epoch: int) -> float:
        return min(1.0, epoch / self.num_epochs)

    def epoch_order(self, epoch: int) -> Ids:
        """The rows of this epoch in the sequence they come in, each once; the same on every rank."""
        if epoch < 0:
            raise RunError(f"epoch is {epoch}; allowed: 0 or more")
        admitted = self.order.admitted(self.progress(epoch))
        ids = np.arange(self.num_examples, dtype=np.int32)
        if admitted is not None:
            ids = ids[admitted]
        return self.order.arrange(ids, numpy_generator(self.seed, "order", epoch))

    def gates(self, epoch: int, rows: Sequence[int], num_layers: int) -> Gates:
        """[rows, layers]: whether a row may teach a layer in this epoch."""
        progress = self.progress(epoch)
        open_nl = np.ones((len(rows), num_layers), dtype=bool)
        found = self.depth.gates(progress, rows, num_layers)
        if found is not None:
            open_nl &= found
        open_nl[:, list(self.depth.closed(progress, num_layers))] = False
        return open_nl

    def open_layers(self, epoch: int, num_layers: int) -> list[int]:
        """The layers that learn from any example at all, counted from 0."""
        return sorted(set(range(num_layers)) - self.depth.closed(self.progress(epoch), num_layers))

    @property
    def percentiles_n(self) -> npt.NDArray[np.float64]:
        """Of each row's difficulty: the share of easier ones."""
        return percentile_ranks(self.difficulty_n)

    def observe(self, loss: float | None) -> None:
        """What an epoch's loss came to, before the next begins; None where it is not known."""
        self.losses.append(loss)
        if loss is not None and math.isfinite(loss):
            self.order.observe(len(self.losses), [], [loss])

    def state_dict(self) -> dict[str, Any]:
        return {"losses": list(self.losses), "order": self.order.state_dict(), "depth": self.depth.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.order.load_state_dict(state["order"])
        self.depth.load_state_dict(state["depth"])
        self.losses = list(state["losses"])
