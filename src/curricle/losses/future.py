"""Which token each head of a multi-token model learns where, as masks over positions and rows of the flat table.

Head h at position t learns the token at t + h: of the same document, and only where that token is learned at all. A row
of two documents, `a b C D` and `x Y Z`, where capitals are learned:

    t             0    1    2    3    4    5    6
    input_ids     a    b    C    D    x    Y    Z
    position      0    1    2    3    0    1    2      of the token in its document
    head 1        .    C    D    .    Y    Z    .      its mask is where a token stands: the state at t learns t + 1
    head 2        C    D    .    .    Z    .    .      a prompt's states learn, too
    head 3        D    .    .    .    .    .    .      Y and Z have no state three before them in theirs

    table rows    0 C (2)   1 D (3)   2 Y (1)   3 Z (2)        targets of head 1, with their positions
    row_n         head 2: 0 1 3        head 3: 1               rows of the same table: position >= h

So every target of a later head is one of head 1's, found by its row: a weight, a value or a reward belongs to a token,
is made once, and is gathered to heads: `weights_n[row_n]`.

Suffixes: bt batch x time, n supervised tokens of one head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .flat import FlatTokens, flatten, keep_mask


class Future(NamedTuple):
    """What one head learns in a micro batch."""

    keep_bt: Tensor
    """Positions whose state learns."""
    row_n: Tensor
    """For each of them, in row order, its target's row in the flat table."""


def futures(keep_bt: Tensor, tokens: FlatTokens, num_heads: int) -> list[Future]:
    """Of heads 1 to `num_heads`, from the first one's mask and table."""
    at_n = keep_bt.flatten().nonzero().squeeze(1)  # where head 1 stands; head h stands h - 1 before it
    column_n = at_n % keep_bt.shape[1]
    found = [Future(keep_bt, torch.arange(len(tokens), device=keep_bt.device))]
    for h in range(2, num_heads + 1):
        # The column matters where a row begins inside a document, whose positions then do not begin at 0.
        row_n = ((tokens.position_n >= h) & (column_n >= h - 1)).nonzero().squeeze(1)
        mask_bt = torch.zeros_like(keep_bt)
        mask_bt.view(-1)[at_n[row_n] - (h - 1)] = True
        found.append(Future(mask_bt, row_n))
    return found


def future_masks(labels_bt: Tensor, inputs: dict[str, Any], num_heads: int) -> list[Tensor]:
    """The masks of heads 1 to `num_heads`: where each takes its states."""
    keep_bt = keep_mask(labels_bt)
    return [future.keep_bt for future in futures(keep_bt, flatten(labels_bt, keep_bt, inputs), num_heads)]


def count_futures(labels_bt: Tensor, inputs: dict[str, Any], num_heads: int) -> Tensor:
    """[num_heads] how many tokens each head learns."""
    return torch.stack([mask_bt.sum() for mask_bt in future_masks(labels_bt, inputs, num_heads)])


def head_scales(counts: Tensor, coefficients: Sequence[float]) -> Tensor:
    """What a token of head h counts for beside one of head 1, where the sum over all heads is divided by N_1:

    sum_h c_h * sum(w * l_h) / N_h  =  sum_h s_h * sum(w * l_h) / N_1     with  s_h = c_h * N_1 / N_h
    """
    exact = torch.float32 if counts.device.type == "mps" else torch.float64  # Apple's devices lack float64
    counts = counts.clamp(min=1).to(exact)
    return counts[0] / counts * counts.new_tensor(coefficients)


def reference_futures(labels_bt: Tensor, inputs: dict[str, Any], num_heads: int) -> list[list[tuple[int, int, int]]]:
    """The slow way, from the definition: (row, position, target) of everything each head learns, in row order."""
    position_bt, mask_bt = inputs.get("position_ids"), inputs.get("attention_mask")
    learned: list[list[tuple[int, int, int]]] = [[] for _ in range(num_heads)]
    for row, labels in enumerate(labels_bt.tolist()):
        real = mask_bt[row].tolist() if mask_bt is not None and mask_bt.dim() == 2 else [1] * len(labels)
        starts = [] if position_bt is None else (position_bt[row] == 0).tolist()
        for h in range(1, num_heads + 1):
            for t in range(len(labels) - h):
                border = h > 1 and (not real[t] or any(starts[t + 1 : t + h + 1]))
                if labels[t + h] != -100 and not border:
                    learned[h - 1].append((row, t, labels[t + h]))
    return learned
