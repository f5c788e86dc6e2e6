"""The one shape that every row has after reading, whatever file and format it came from.

    kind "text"     text                          raw text: every token is learned
    kind "plain"    prompt, completion            two strings, no chat template (as TRL treats them)
    kind "chat"     messages                      rendered by a chat template; the last message is the target

A row of an evaluation file may have no target: `completion` is None, or the last message is not the assistant's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

Kind = Literal["text", "plain", "chat"]

ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class Where:
    """The place of a row: its first line in a JSONL, CSV or TSV file, its number in a JSON or Parquet file, from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Message:
    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Example:
    """One row, read."""

    kind: Kind
    id: str
    """16 hex digits: the hash of the fields its format reads. The same row has the same id in every file, under any
    column names, prompt wording or system prompt."""
    where: Where
    source_index: int = 0
    """Which of the files of `data.train` (or `data.eval`) it came from."""
    text: str | None = None
    prompt: str | None = None
    completion: str | None = None
    messages: tuple[Message, ...] = ()
    references: tuple[str, ...] = ()
    """Every accepted target; the first is the one trained on. Empty for raw text and for rows without a target."""
    domain: str | None = None
    reward: float | None = None
    """1 where the target is correct, 0 where it is not; None where nothing says."""
    weights: Any = None
    """How much the target's tokens count, as the row has it: a number, or a list of them."""
    units: tuple[str, ...] = ()
    """For a dialogue: the utterances of the user message, which is `prefix + "\\n".join(units) + suffix`. Truncation
    drops whole units and leaves the rest of the message alone. Empty for every other format."""
    prefix: str = ""
    suffix: str = ""

    @property
    def target(self) -> str | None:
        """The text to be learned, or None."""
        return self.references[0] if self.references else None

    def message_of(self, units: Sequence[str]) -> str:
        """The user message with these utterances in place of its own."""
        return self.prefix + "\n".join(units) + self.suffix

    def with_units(self, units: Sequence[str]) -> Example:
        """This dialogue with other utterances; id, target, system prompt and question stay."""
        whole = self.message_of(self.units)
        content = self.message_of(units)
        messages = tuple(
            Message(m.role, content) if m.role == "user" and m.content == whole else m for m in self.messages
        )
        return replace(self, messages=messages, units=tuple(units))
