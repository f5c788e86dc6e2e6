"""One interface: a weighting looks at the flat table of supervised tokens and gives one weight per token, and metrics.

A weight is a number, not a function of the parameters: nothing is differentiated through it. The loss of a step is
sum(weight * loss) / number of supervised tokens, so weights are not normalised away (see losses.reduction).

`known_beforehand` says that weights do not depend on this step's losses (`tokens.loss_n` is None then): the gradient
can be made together with the loss, and no logits are computed twice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from ..losses.flat import FlatTokens


class Weighting(ABC):
    """One weight per supervised token."""

    known_beforehand: bool = False

    @abstractmethod
    def __call__(self, tokens: FlatTokens) -> tuple[Tensor | None, dict[str, float]]:
        """(weights_n, metrics to log). None means that every weight is 1."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold so that a resumed run weighs alike; nothing, for most."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027 - a weighting without state has nothing to do
        """Take back what `state_dict` gave."""


class Uniform(Weighting):
    """Every supervised token counts the same: plain cross-entropy."""

    known_beforehand = True

    def __call__(self, tokens: FlatTokens) -> tuple[Tensor | None, dict[str, float]]:
        return None, {}
