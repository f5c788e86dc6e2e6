"""One interface: a weighting looks at the flat table of supervised tokens and gives one weight per token, and metrics.

A weight is a number, not a function of the parameters: nothing is differentiated through it. The loss of a step is
sum(weight * loss) / number of supervised tokens, so weights are not normalised away (see losses.reduction).

`known_beforehand` says that weights do not depend on this step's losses (`tokens.loss_n` is None then): the gradient
can be made together with the loss, and no logits are computed twice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import TrainingError

if TYPE_CHECKING:
    from torch import Tensor

    from ..losses.flat import FlatTokens, Metrics


LaterHeads = float | Sequence[tuple[float, float]]
"""A factor, or pairs of a share of the run and the factor from there on; the first share is 0."""


class Weighting(ABC):
    """One weight per supervised token."""

    name: str = "of your own"
    """What a person calls it."""
    known_beforehand: bool = False
    needs: frozenset[str] = frozenset()
    """Columns of the flat table without which it cannot work; see `NEEDED`."""
    step: int = -1
    """The optimizer step that is being made, counted from 0; set by the trainer, which is at -1 before the first."""

    num_heads: int = 1
    """How many heads learn each token; set by the trainer."""
    later_heads: LaterHeads = 1.0
    """What the losses of heads 2 and on are multiplied by; with 0, head 1 learns alone."""

    @abstractmethod
    def __call__(self, tokens: FlatTokens) -> tuple[Tensor | None, Metrics]:
        """(weights_n, metrics to log). None means that every weight is 1."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold so that a resumed run weighs alike; nothing, for most."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027 - a weighting without state has nothing to do
        """Take back what `state_dict` gave."""


class Uniform(Weighting):
    """Every supervised token counts the same: plain cross-entropy."""

    name = "uniform"
    known_beforehand = True

    def __call__(self, tokens: FlatTokens) -> tuple[Tensor | None, Metrics]:
        return None, {}


NEEDED = {
    "before_n": "the values of a critic; set `critic:` in the recipe, or critic=CriticConfig() on the trainer",
    "after_n": "the values of a critic; set `critic:` in the recipe, or critic=CriticConfig() on the trainer",
    "reward_n": "the reward of each row; name the column that says whether it is correct in data.reward_field",
    "reference_n": "the losses of a reference model; set weighting.reference",
    "given_n": "the weights that rows bring; name their column in data.weight_field",
    "example_n": "the number of each example; give rows=Rows() or a TokenTable, so that our rows are trained on",
}


def column(tokens: FlatTokens, name: str, who: str) -> Tensor:
    """A column of the table that a weighting cannot do without."""
    found: Tensor | None = getattr(tokens, name)
    if found is None:
        raise TrainingError(f"weighting {who} needs {NEEDED[name]}")
    return found
