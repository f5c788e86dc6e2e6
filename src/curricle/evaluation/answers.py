"""The rows of a table as a prompt and its last answer."""

from __future__ import annotations

from ..data.table import TokenTable
from .selection import prompt_and_target


def last_answers(table: TokenTable) -> list[tuple[list[int], list[int]]]:
    """(prompt, answer) of each row, in tokens; of several answers the last, and what comes before is its prompt."""
    examples = (table.example(i) for i in range(len(table)))
    return [prompt_and_target(tokens.tolist(), supervised.tolist()) for tokens, supervised in examples]
