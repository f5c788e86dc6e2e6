"""Pacing by the live loss: more of the set once the model copes with what it has.

    loss, averaged       2.3  2.1  1.9  1.8  2.15  2.3        threshold 2.0, hysteresis 0.1: too high above 2.2
    admitted share       .20  .20  .25  .30  .30   .30        .25 in the last step with a step down of 0.05

Harder examples raise the loss, so there is a band between "copes" and "too high" in which nothing happens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .layers import stage_of
from .pacing import Easiest


@dataclass(frozen=True)
class Pace:
    """When to admit more, when less, and how much."""

    loss_threshold: float = 2.0
    relative_threshold: float | None = None
    """In place of the former: times the running loss at the last step up."""
    step_up: float = 0.05
    step_down: float = 0.0
    patience: int = 1
    hysteresis: float = 0.1
    decay: float = 0.9
    initial: float = 0.2


@dataclass
class _Held:
    """What the steps so far have come to."""

    share: float
    loss: float | None = None
    """The running mean of the steps' losses."""
    reference: float | None = None
    """The running loss at the last step up."""
    below: int = 0
    above: int = 0


class DynamicPacing(Easiest):
    observes = True

    def __init__(self, difficulty_n: npt.NDArray[Any], pace: Pace | None = None) -> None:
        super().__init__(difficulty_n)
        self.pace = pace or Pace()
        self._held = _Held(self.pace.initial)

    def share(self, progress: float) -> float:
        return self._held.share

    @property
    def threshold(self) -> float:
        relative, reference = self.pace.relative_threshold, self._held.reference
        return self.pace.loss_threshold if relative is None or reference is None else relative * reference

    def observe(self, step: int, ids: Sequence[int], losses: Sequence[float]) -> None:
        if not len(losses):
            return
        pace, held, now = self.pace, self._held, float(np.mean(losses))
        if held.loss is None:
            held.loss = held.reference = now
            if pace.relative_threshold is not None:
                return  # nothing to compare with yet
        else:
            held.loss = pace.decay * held.loss + (1.0 - pace.decay) * now
        threshold = self.threshold
        held.below = held.below + 1 if held.loss < threshold else 0
        held.above = held.above + 1 if held.loss > threshold * (1.0 + pace.hysteresis) else 0
        if held.below >= pace.patience:
            self._move(pace.step_up)
            held.reference = held.loss
        elif held.above >= pace.patience and pace.step_down:
            self._move(-pace.step_down)

    def _move(self, by: float) -> None:
        held = self._held
        # Rounded: the share is written down in checkpoints and compared, and 0.05 twenty times is not quite 1.
        held.share = round(min(1.0, max(self.pace.initial, held.share + by)), 9)
        held.below = held.above = 0

    def metrics(self) -> dict[str, float]:
        loss = {} if self._held.loss is None else {"paced_loss": self._held.loss}
        return {**super().metrics(), "competence": self._held.share, "loss_threshold": self.threshold, **loss}

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "pace": asdict(self._held)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._held = _Held(**state["pace"])


class Hybrid(DynamicPacing):
    """What the loss allows, but never more than the stage."""

    def __init__(self, difficulty_n: npt.NDArray[Any], percentiles: Sequence[float], pace: Pace | None = None) -> None:
        super().__init__(difficulty_n, pace)
        self.percentiles = tuple(percentiles)

    def share(self, progress: float) -> float:
        return min(self.percentiles[stage_of(progress, len(self.percentiles))], super().share(progress))
