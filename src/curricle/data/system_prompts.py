"""Which system prompt each row of a recipe has, and rows of tokens that say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import DataError
from .config import DataConfig
from .rows import Rows
from .schema import Example
from .sources import read_examples
from .table import TokenTable


@dataclass(frozen=True)
class SystemPrompts:
    """The distinct system prompts, and the number of each row's."""

    texts: list[str]
    of_row: dict[str, int]

    def number(self, table_id: str) -> int:
        """The prompt of an example of a table: a window or a turn, `<id>-<k>`, has its row's."""
        found = self.of_row.get(table_id)
        return self.of_row[table_id.partition("-")[0]] if found is None else found


def system_prompt_of(example: Example) -> str:
    """The row's own system message, or else the recipe's, which reading has put before it."""
    found = [message.content for message in example.messages if message.role == "system"]
    if not found or not found[0].strip():
        advice = "set data.system_prompt, or give the row's messages one"
        if example.kind != "chat":
            advice = "only chats can have one: give rows as messages, alpaca, sharegpt or dialogue"
        raise DataError(f"{example.where} has no system prompt for the cloud model to read; {advice}")
    return found[0]


def read_system_prompts(config: DataConfig) -> SystemPrompts:
    """Of all rows of `data.train` and `data.eval`."""
    whole = config.model_copy(update={"show_system_prompt": True})
    numbers: dict[str, int] = {}
    of_row: dict[str, int] = {}
    for which in ("train", "eval") if config.eval is not None else ("train",):
        for example in read_examples(whole, which):
            prompt = system_prompt_of(example)
            number = numbers.setdefault(prompt, len(numbers))
            if of_row.setdefault(example.id, number) != number:
                raise DataError(
                    f"{example.where} is an example that was read before with another system prompt; the two cannot be "
                    "told apart: write system prompts as messages of the rows"
                )
    return SystemPrompts(list(numbers), of_row)


@dataclass(frozen=True)
class PromptRows(Rows):
    """Rows whose batches also say which system prompt each document has."""

    prompts: SystemPrompts = field(default_factory=lambda: SystemPrompts([], {}))

    def collate(self, table: TokenTable, rows: Sequence[Sequence[int]]) -> dict[str, Any]:
        batch = super().collate(table, rows)
        ids: Sequence[str] = table.ids[batch["example_ids"]]
        return batch | {"prompt_ids": [self.prompts.number(name) for name in ids]}
