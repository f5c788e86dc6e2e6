"""Shows what a model is asked to learn: prompt and target in two colours, with the ids of their tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from .table import TokenTable
from .tokens import TextEncoder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_GREY, _GREEN, _DIM, _PLAIN = "\x1b[38;5;245m", "\x1b[1;32m", "\x1b[2m", "\x1b[0m"
_SHOWN = 16
"""Ids shown at either end of a long prompt."""


def render_masks(
    table: TokenTable, tokenizer: PreTrainedTokenizerBase, n: int = 3, color: bool = True, first: int = 0
) -> str:
    """`n` examples of a table as text. What is learned is green, and in 【brackets】 for a terminal without colours.

    A target may come in several stretches, one a turn; each is shown with its ids below it.
    """
    return "\n".join(_example(table, i, tokenizer, color) for i in range(first, min(first + n, len(table))))


def _example(table: TokenTable, i: int, tokenizer: PreTrainedTokenizerBase, color: bool) -> str:
    tokens, supervised = table.example(i)
    title = f"example {table.ids[i]}: {len(tokens):,} tokens, {int(supervised.sum()):,} learned"
    lines = [title, "-" * len(title)]
    for ids, learned in _stretches(tokens, supervised):
        (text,) = TextEncoder(tokenizer).decode([ids])
        lines += [_painted(text, learned, color), _dimmed(f"    ids {_listed(ids, learned)}", color)]
    return "\n".join(lines) + "\n"


def _stretches(tokens: np.ndarray, supervised: np.ndarray) -> Iterator[tuple[list[int], bool]]:
    edges = [0, *(np.flatnonzero(np.diff(supervised)) + 1).tolist(), len(tokens)]
    for begin, end in pairwise(edges):
        yield tokens[begin:end].tolist(), bool(supervised[begin])


def _painted(text: str, learned: bool, color: bool) -> str:
    shown = f"【{text}】" if learned else text
    return f"{_GREEN if learned else _GREY}{shown}{_PLAIN}" if color else shown


def _dimmed(text: str, color: bool) -> str:
    return f"{_DIM}{text}{_PLAIN}" if color else text


def _listed(ids: Sequence[int], learned: bool) -> str:
    """All ids of a target, and those at the ends of a prompt."""
    if learned or len(ids) <= 2 * _SHOWN + 1:
        return " ".join(map(str, ids))
    middle = f"... {len(ids) - 2 * _SHOWN:,} more ..."
    return " ".join([*map(str, ids[:_SHOWN]), middle, *map(str, ids[-_SHOWN:])])
