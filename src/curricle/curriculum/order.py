"""An order: which examples may be drawn now, and in what sequence.

An order is a small state machine. `admitted` is a pure function of progress and of the order's state; `observe` is the
only thing that changes that state, once per optimizer step, from losses that are the same on every rank; `state_dict`
goes into every checkpoint. The order holds no cursor: `Stream` does the drawing.

The base class is the uniform order, so a curriculum overrides only what it changes:

    class HalfFirst(Order):
        def admitted(self, progress: float) -> np.ndarray | None:
            return self.easy_half if progress < 0.5 else None
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import RunError

Ids = npt.NDArray[np.integer]
Mask = npt.NDArray[np.bool_]


class Order:
    """Shuffled passes over the whole set."""

    observes = False
    """Whether `observe` wants to be called; the losses are gathered over ranks only then."""

    def admitted(self, progress: float) -> Mask | None:
        """One bool per example of the training table, or None for all; `progress` runs from 0 to 1 over the run.

        A read-only array that is given a second time is taken to be unchanged, and costs nothing.
        """
        return None

    def shares(self, progress: float) -> tuple[float, ...] | None:
        """How the draws are split among groups of examples, for an order that mixes; None: no groups."""
        return None

    def arrange(self, ids: Ids, rng: np.random.Generator) -> Ids:
        """The sequence in which `ids` will be drawn; each id keeps its number of copies.

        A function of `ids`, `rng` and things fixed for the run (labels) only, never of what `observe` changed: a resume
        calls it again and must get the same sequence.
        """
        return rng.permutation(ids)

    def deal(self, ids: Ids, shares: tuple[float, ...], draws: npt.NDArray[np.int32], rng: np.random.Generator) -> Ids:
        """The same where there are shares. `draws` says how often each example has been drawn so far; the sequence may
        name an example of `ids` never, or several times, and need not be as long."""
        return self.arrange(ids, rng)

    def observe(self, step: int, ids: Sequence[int], losses: Sequence[float]) -> None:
        """Called after each optimizer step with the examples it trained on and their losses, reduced over ranks."""

    def state_dict(self) -> dict[str, Any]:
        """What `observe` has changed, as JSON values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state:
            raise RunError(
                f"the checkpoint holds a curriculum state ({', '.join(sorted(state))}) but the recipe's order "
                f"`{type(self).__name__}` has none; resume with the recipe that wrote it, or start a new run"
            )

    def metrics(self) -> dict[str, float]:
        """Numbers worth a line in the log: competence, stage, threshold."""
        return {}

    def metrics_of(self, ids: Sequence[int]) -> dict[str, float]:
        """Numbers about the examples that one step was trained on."""
        return {}


Uniform = Order
