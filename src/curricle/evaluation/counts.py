"""What an overlap of two texts is made of, and the precision, recall and F1 that follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import RecipeError, nearest

Pair = tuple[str, str]
"""A prediction and one reference."""
Quantity = Literal["f1", "precision", "recall"]


@dataclass(frozen=True)
class Counts:
    """Of every pair and each metric: [num_pairs, num_metrics]."""

    overlap: np.ndarray
    predicted: np.ndarray
    given: np.ndarray

    def values(self, quantity: Quantity = "f1") -> np.ndarray:
        """In 0..1; a text without words has nothing in common with any other."""
        match quantity:
            case "precision":
                part, whole = self.overlap, self.predicted
            case "recall":
                part, whole = self.overlap, self.given
            case "f1":
                part, whole = 2 * self.overlap, self.predicted + self.given
            case _:
                raise RecipeError(f"quantity `{quantity}`: {nearest(quantity, ['f1', 'precision', 'recall'])}")
        return part / np.maximum(whole, 1)
