"""IFD, the difficulty of following an instruction (Li et al., 2024, "From Quantity to Quality"): how much of an answer
the prompt does not explain.

    IFD = mean loss of the answer's tokens after the prompt / mean loss of the same tokens after `head` alone

    with the prompt      <s> What is 2 + 2 ? [A]   four  .          head: what comes before any answer, asked or not,
    without              <s> [A]                   four  .          here <s> [A]

1 says that the prompt does not help, more than 1 that it misleads. Where `head` is empty nothing foresees the answer's
first token, and it is left out of both means. An answer of a single token left makes a ratio of two numbers, of which
one may be next to nothing: such an answer has NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..data.rows import Rows
from ..data.schema import Message
from ..data.templates import ChatTemplate
from ..data.tokens import Piece, TextEncoder
from .likelihood import answer_losses_of

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

FEWEST = 2
"""Tokens of an answer that must be left to score."""


def ifd_ratios(
    model: nn.Module,
    pairs: Sequence[tuple[list[int], list[int]]],
    rows: Rows,
    *,
    head: Sequence[int] = (),
    batch_size: int = 1,
) -> npt.NDArray[np.float64]:
    """IFD of each (prompt, answer), in tokens; NaN where it says nothing."""
    first = 0 if head else 1
    chosen = [i for i, (prompt, answer) in enumerate(pairs) if prompt and len(answer) - first >= FEWEST]
    ratios = np.full(len(pairs), np.nan)
    if chosen:
        asked = [(prompt, answer) for prompt, answer in (pairs[i] for i in chosen)]
        alone = [(list(head), answer) for _, answer in asked]
        after_prompt, after_head = (
            answer_losses_of(model, side, rows, first=first, batch_size=batch_size).sums() for side in (asked, alone)
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            found = after_prompt / after_head  # of equally many tokens, so the ratio of the means
        ratios[chosen] = np.where(np.isfinite(found), found, np.nan)
    return ratios


def answer_head(tokenizer: PreTrainedTokenizerBase, *, chat: bool) -> list[int]:
    """The tokens before an answer that nobody asked for: what a document begins with, and in a chat what the template
    writes between a question and its answer."""
    encoder = TextEncoder(tokenizer)
    if not chat:
        return list(encoder.begin)
    template, question = ChatTemplate(tokenizer), Message("user", "PROBE QUESTION")
    asked, waiting = template.render([question]), template.render([question], generation=True)
    opening = waiting.removeprefix(asked) + template.facts.lead if waiting.startswith(asked) else ""
    return encoder.encode([Piece(opening, begin=encoder.begin, first=True)])[0]
