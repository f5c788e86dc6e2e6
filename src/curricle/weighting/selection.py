"""Choosing an exact number of tokens by a score, the same ones whenever and wherever it is done.

scores       3  7  7  1  7          ratio 0.5 of 5 tokens: ceil(2.5) = 3 are chosen
chosen       .  x  x  .  x          with ratio 0.4 two: of equal scores the first come first  . x x . .
"""

from __future__ import annotations

import math
from fractions import Fraction

import torch
from torch import Tensor


def num_chosen(ratio: float, num: int) -> int:
    """ceil(ratio * num), where the ratio is the decimal number that was written: 0.07 of 100 are 7."""
    return math.ceil(Fraction(repr(float(ratio))) * num)


def choose_top(scores_n: Tensor, ratio: float) -> Tensor:
    """Marks the tokens with the largest scores, exactly `num_chosen` of them; of equal ones the first."""
    num, wanted = len(scores_n), num_chosen(ratio, len(scores_n))
    if wanted == num:
        return torch.ones_like(scores_n, dtype=torch.bool)
    threshold = scores_n.kthvalue(num - wanted + 1).values  # the wanted-th largest
    above_n, ties_n = scores_n > threshold, scores_n == threshold
    return above_n | (ties_n & (ties_n.cumsum(0) <= wanted - above_n.sum()))


def selecting_weights(chosen_n: Tensor) -> Tensor:
    """number of tokens / number chosen on the chosen ones, so that dividing by all tokens divides by the chosen."""
    num_chosen_ones = chosen_n.sum().clamp(min=1)
    return chosen_n * (chosen_n.numel() / num_chosen_ones)
