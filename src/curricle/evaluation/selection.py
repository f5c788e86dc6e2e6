"""Metrics of answers while a model trains, to choose a checkpoint by or to watch.

The first rows of the held-out data are answered at each evaluation, the same ones every time; one generation serves all
metrics. The first rank computes the figures and the others take them over, so that all choose the same checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..data.prompts import Prompts
from ..errors import RecipeError
from ..generation.answers import answer
from ..generation.config import GenerationConfig
from ..runtime.ranks import is_main, shared
from .config import FIRST, TextMeasurement
from .measure import measure_texts

if TYPE_CHECKING:
    from torch import nn


def watch_generation(
    prompts: Prompts, tokenizer: Any, config: GenerationConfig, entries: Sequence[TextMeasurement], seed: int = 0
) -> Callable[[nn.Module], dict[str, float]]:
    """A function of a model that gives the figures of these entries, each on its first `during_training` rows."""
    nums = [entry.during_training or FIRST for entry in entries]
    first = min(max(nums), config.num_examples or max(nums))
    watched = prompts.head(first).with_references()
    if not len(watched):
        raise RecipeError(
            f"answers are compared with references while training, and the first {first} rows of `data.eval` have none"
        )

    def measure(model: nn.Module) -> dict[str, float]:
        answers = answer(model, tokenizer, watched, config, seed=seed)
        figures: dict[str, float] = {}
        if is_main():
            for entry, num in zip(entries, nums, strict=True):
                judged = answers[:num]
                predictions, references = [a.prediction for a in judged], [a.references for a in judged]
                figures |= measure_texts([entry], predictions, references, [a.id for a in judged]).metrics()
        return dict(shared(figures))

    return measure
