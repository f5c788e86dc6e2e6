"""One figure of one metric, and what it is made of: the value over a whole set, and where it can be had, a value an
example, from which intervals are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from .config import Range


@dataclass(frozen=True)
class Score:
    """`value` is `transform(sum(weights * per_example) / sum(weights))` wherever there are values an example."""

    name: str
    """Such as `rouge1`. In a run the entry's label goes before it (`rouge.rouge1`), if it is another."""
    value: float
    per_example: np.ndarray | None = None
    """One value an example, in the order of the set; None for figures of the whole, such as BLEU."""
    weights: np.ndarray | None = None
    """What each example counts; None means all alike. Tokens, for a loss."""
    transform: Literal["none", "exp"] = "none"
    higher_is_better: bool = True
    note: str = ""
    """What must be known to have the same figure again: a signature, an analyser's version."""
    unit: str = ""
    """What the weights count, where the data decide it and not the model: `tokens` or `bytes`. Two models whose same
    examples have other numbers of them were not asked the same."""
    range: Range | None = None
    """Between what it lies, as its measurement says: no interval of it goes beyond, and one of 0 to 100 is in
    percent."""


def mean_score(name: str, per_example: np.ndarray, *, higher_is_better: bool = True, note: str = "") -> Score:
    """The plain mean over examples."""
    return Score(name, float(np.mean(per_example)), per_example, higher_is_better=higher_is_better, note=note)
