"""What a run leaves as it is: it learns nothing while the run trains, and may again afterwards.

Who trains one model twice, a critic alone and then everything, finds in the second run what the first one had found.
By name, because sharding puts other parameters in the place of these, and nobody should keep the whole ones alive.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from contextlib import contextmanager

from torch import nn


@contextmanager
def frozen(model: nn.Module, names: Set[str]) -> Iterator[None]:
    """Inside, these take no gradient; what took none before takes none afterwards either."""
    held = {name for name, parameter in model.named_parameters() if name in names and parameter.requires_grad}
    _learn(model, held, False)
    try:
        yield
    finally:
        _learn(model, held, True)


def _learn(model: nn.Module, names: Set[str], learns: bool) -> None:
    for name, parameter in model.named_parameters():
        if name in names:
            parameter.requires_grad_(learns)


def num_learning(model: nn.Module, left: Set[str]) -> int:
    """How many of the model's numbers learn in a run that leaves these."""
    learning = (part for name, part in model.named_parameters() if part.requires_grad and name not in left)
    return sum(part.numel() for part in learning)
