"""The rows of a table as a prompt and its last answer."""

from __future__ import annotations

from ..data.prompts import prompt_and_target
from ..data.table import TokenTable


def last_answers(table: TokenTable) -> list[tuple[list[int], list[int]]]:
    """(prompt, answer) of each row, in tokens; of several answers the last, and what comes before is its prompt."""
    pairs = (prompt_and_target(*table.example(i)) for i in range(len(table)))
    return [(prompt.tolist(), answer.tolist()) for prompt, answer in pairs]
