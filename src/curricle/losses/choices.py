"""Which token a head would put first, without the full logits: the largest so far, strip by strip of the vocabulary.

Suffixes: n tokens, h hidden, v vocabulary, w the columns of one strip.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LOGITS_HELD = 1 << 23


def first_choices(
    hidden_nh: Tensor, weight_vh: Tensor, *, bias: Tensor | None = None, chunk: int | None = None
) -> Tensor:
    """[N] the token with the largest logit, the first of equals. Caps and positive scales do not change it."""
    num_tokens, vocab = hidden_nh.shape[0], weight_vh.shape[0]
    width = chunk or max(256, LOGITS_HELD // max(num_tokens, 1))
    best_n = hidden_nh.new_full((num_tokens,), -torch.inf)
    choice_n = torch.zeros(num_tokens, dtype=torch.long, device=hidden_nh.device)
    for start in range(0, vocab if num_tokens else 0, width):
        strip = slice(start, start + width)
        logits_nw = F.linear(hidden_nh, weight_vh[strip], None if bias is None else bias[strip])
        top_n, place_n = logits_nw.max(dim=1)
        better_n = top_n > best_n
        best_n = torch.where(better_n, top_n, best_n)
        choice_n = torch.where(better_n, place_n + start, choice_n)
    return choice_n
