"""What to take from a store: the same words in a recipe, in Python and on the command line."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from ...runtime.config import Section


def _word(value: Any) -> Any:
    """A value as it is written: YAML reads true as a boolean and 3 as a number, the command line neither."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _words(value: Any) -> Any:
    return [_word(one) for one in value] if isinstance(value, list | tuple) else [_word(value)]


def _keys(value: Any) -> Any:
    return {_word(key): share for key, share in value.items()} if isinstance(value, dict) else value


Words = Annotated[list[str], BeforeValidator(_words)]
Share = Annotated[float, Field(ge=0)]
Shares = Annotated[dict[str, Share] | Literal["equal"], BeforeValidator(_keys)]
Count = Annotated[int, Field(ge=0)]
Counts = Annotated[dict[str, Count], BeforeValidator(_keys)]


class Selection(Section):
    """Which rows of a file are taken: drawn without replacement, the same for a seed on every machine and rank."""

    where: dict[str, Words] = Field(default_factory=dict)
    """Column -> what it must be: a value, a list of values, or a range of numbers with both ends in it, such as 1..3,
    800.. or ..5. A row without the column is left out."""
    rows: Annotated[int, Field(ge=1)] | None = None
    """How many rows; without it as many as the other settings allow."""
    shares: dict[str, Shares] = Field(default_factory=dict)
    """Column -> the share of each value or range, together 1: {is_correct: {"true": 0.5, "false": 0.5}}; or `equal`.
    Shares of several columns are multiplied. A row with none of the values is left out, and counted."""
    counts: dict[str, Counts] = Field(default_factory=dict)
    """Column -> the number of rows of each value or range, in place of `rows` and `shares`; of one column."""
    cap: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """Column -> the most rows of each of its values: {problem: 8}. Rows without the column have no cap."""
    on_shortage: Literal["redistribute", "fewer", "error"] = "redistribute"
    """Where a value has fewer rows than its share: give what is missing to the other values by their shares, take fewer
    rows, or stop. What was short is always said."""
    seed: int = 0
    """Which draw."""

    @property
    def columns(self) -> list[str]:
        """The columns that it goes by."""
        return list(dict.fromkeys([*self.where, *self.shares, *self.counts, *self.cap]))
