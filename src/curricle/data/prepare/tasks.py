"""Programming problems with their solutions, on the way from a public data set to the files of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..problems import Problem
from ..readers import BadRow
from ..schema import Where
from ..sources import Skipped

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Solution:
    """One program. Its number is its place in the published list, whatever is left out before it."""

    number: int
    text: str
    is_correct: bool
    language: str = "python3"


@dataclass(frozen=True, slots=True)
class Task:
    """One problem."""

    name: str
    instruction: str
    input: str
    metadata: dict[str, Any]
    """Of every row: source, difficulty, has_tests and what else is known."""
    solutions: Sequence[Solution]
    problem: Problem | None
    """None when it has no tests that a program can be run against."""


@dataclass(frozen=True)
class CodeOptions:
    """How the data sets of programs are prepared."""

    tokenizer: PreTrainedTokenizerBase | None = None
    """With a tokenizer, a row whose templated sequence is longer than `max_length` tokens is left out."""
    max_length: int = 2048
    chat_template: str | None = None
    """A name, a Jinja file or a text, when the tokenizer brings no template."""
    python2: Literal["parse", "apart", "drop"] = "parse"
    """Programs published as Python 2: kept where Python 3 can parse them, kept in a file apart, or left out."""
    difficulty: Literal["rating", "published"] = "rating"
    """The scale of `difficulty`: one from 1 to 11 made from ratings, or the published code, which mixes two scales."""
    tests: Literal["all", "published"] = "all"
    """The tests of a problem: with those made by changing published ones, or without."""


@dataclass
class SplitAccount:
    """What happened to the problems and the programs of one split."""

    sources: dict[str, str] = field(default_factory=dict)
    """The files read, with their SHA256."""
    problems: int = 0
    programs: int = 0
    rows: int = 0
    rows_apart: int = 0
    """Rows in the file of Python 2 programs."""
    testable: int = 0
    """Problems written with tests."""
    dropped_problems: dict[str, Skipped] = field(default_factory=dict)
    dropped_programs: dict[str, Skipped] = field(default_factory=dict)
    untested: dict[str, Skipped] = field(default_factory=dict)
    """Problems whose programs are kept, but which are not among the problems to be run, by reason."""
    changed: dict[str, int] = field(default_factory=dict)
    """Rows written in another form than they came, by what was done."""

    def drop(self, reason: str, where: Where) -> None:
        """One program."""
        self.dropped_programs.setdefault(reason, Skipped()).add(where)

    def drop_problem(self, reason: str, where: Where) -> None:
        self.dropped_problems.setdefault(reason, Skipped()).add(where)

    def not_run(self, reason: str, where: Where) -> None:
        self.untested.setdefault(reason, Skipped()).add(where)

    def change(self, what: str) -> None:
        self.changed[what] = self.changed.get(what, 0) + 1

    def lines(self) -> list[str]:
        """The account for a person, after the line that says how many rows there are."""
        groups = (
            ("left out {}: {} (first: {})", "problem", self.dropped_problems),
            ("left out {}: {} (first: {})", "program", self.dropped_programs),
            ("{} without tests to run: {} (first: {})", "problem", self.untested),
        )
        lines = []
        for words, noun, reasons in groups:
            for reason, skipped in reasons.items():
                number = f"{skipped.count:,} {noun}" + ("" if skipped.count == 1 else "s")
                lines.append(words.format(number, reason, ", ".join(skipped.places[:2])))
        return lines + [f"{what}: {count:,} rows" for what, count in self.changed.items()]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


Files = Mapping[str, Sequence[Path]]
"""Split -> the files it is read from, in the order in which splits are to be read: those held out first, so that a
problem found in two splits is left out of the one that is trained on."""
ReadSplit = Callable[[str, SplitAccount], Iterator[tuple[Where, Task | BadRow]]]


@dataclass(frozen=True)
class CodeDataset:
    """How one public data set of programs is laid out, and how it is read."""

    name: str
    licence: str
    find: Callable[[Path], Files]
    """The files under a path; a `DataError` when none is there."""
    open: Callable[[Files, CodeOptions], ReadSplit]
    """Looks all files over once, then reads split by split."""
    notes: tuple[str, ...] = ()
    uses: frozenset[str] = frozenset()
    """Options that mean something here, beside those of the length filter."""


def one_or_other_line_end(text: str, account: SplitAccount) -> str:
    """The text with plain line feeds, counted where that changed something."""
    if "\r" not in text:
        return text
    account.change("line ends made plain (\\r\\n or \\r to \\n)")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def shown_tests(pairs: Sequence[tuple[str, str]], at_most: int = 2) -> str:
    """Public tests as a model sees them, in the `input` of a row."""
    return "\n\n".join(f"Input:\n{given.rstrip()}\nOutput:\n{asked.rstrip()}" for given, asked in pairs[:at_most])
