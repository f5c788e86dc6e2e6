"""A solution to a programming problem as a row, and the small file of labels that may lie beside such rows.

    {"instruction": ..., "input": ..., "output": ..., "task_id": "brcktsrm_correct_0", "is_correct": true,
     "metadata": {"source": "code_contests", "difficulty": 3, "has_tests": true}}

`train_metadata.json` repeats the label and the difficulty of every row of `train.jsonl`, in its order, so that a
program that knows nothing of an index can choose rows without reading them. Ours chooses by the index of a store.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import DataError
from ..runtime.files import atomic_file
from .readers import BadRow, read_rows
from .schema import Where

_TASK = re.compile(r"(?P<problem>.+)_(?P<label>correct|incorrect)_(?P<number>\d+)", re.DOTALL)


class RowMetadata(BaseModel):
    """What is known of a row's problem; a data set may add names of its own."""

    model_config = ConfigDict(extra="allow", strict=True)

    source: str = Field(description="The data set that the row comes from.")
    difficulty: int = Field(
        description="Lower is easier; 0 is unknown. The card of the data set names the scale.", ge=0
    )
    has_tests: bool = Field(description="Whether the problem has tests to run a program against.")


class CodeRow(BaseModel):
    """One solution, right or wrong, to one problem."""

    model_config = ConfigDict(extra="forbid", strict=True)

    instruction: str = Field(description="The problem in words.", min_length=1)
    input: str = Field(description="At most two of its public tests; empty when it has none.")
    output: str = Field(description="The program.", min_length=1)
    task_id: str = Field(
        description="The problem and the number of the solution.", pattern=r"_(correct|incorrect)_\d+$"
    )
    is_correct: bool = Field(description="Whether the program solves the problem.")
    metadata: RowMetadata


def check_row(row: dict[str, Any]) -> CodeRow:
    """The row, or a `BadRow` that names the field."""
    try:
        checked = CodeRow.model_validate(row)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BadRow(f"`{place}`: {first['msg'][:1].lower()}{first['msg'][1:]}") from error
    if checked.is_correct != is_labelled_correct(checked.task_id):
        raise BadRow("`is_correct` and `task_id` disagree", f"{checked.is_correct} and `{checked.task_id}`")
    return checked


def problem_of(task_id: str) -> str:
    """The problem that a row is about: its name without `_correct_N` or `_incorrect_N`."""
    found = _TASK.fullmatch(task_id)
    return found["problem"] if found else task_id


def is_labelled_correct(task_id: str) -> bool:
    found = _TASK.fullmatch(task_id)
    return found is not None and found["label"] == "correct"


# --- Labels beside the rows -----------------------------------------------------------------------


@dataclass
class Labels:
    """Label and difficulty of every row, one byte and two bytes each."""

    is_correct: array[int] = field(default_factory=lambda: array("B"))
    difficulty: array[int] = field(default_factory=lambda: array("h"))

    def __len__(self) -> int:
        return len(self.is_correct)

    def __iter__(self) -> Iterator[tuple[bool, int]]:
        return ((bool(right), level) for right, level in zip(self.is_correct, self.difficulty, strict=True))

    def add(self, is_correct: bool, difficulty: int) -> None:
        self.is_correct.append(is_correct)
        self.difficulty.append(difficulty)

    @property
    def stats(self) -> dict[str, Any]:
        right = sum(self.is_correct)
        levels = sorted(Counter(self.difficulty).items())
        return {
            "total": len(self),
            "correct": right,
            "incorrect": len(self) - right,
            "difficulty_dist": {str(level): count for level, count in levels},
        }


def metadata_path(rows: str | Path) -> Path:
    """Where the labels of `train.jsonl` lie: `train_metadata.json`."""
    rows = Path(rows)
    return rows.with_name(f"{rows.name.partition('.')[0]}_metadata.json")


class MetadataWriter:
    """Writes labels as they come; nothing but one byte and two bytes of each is held."""

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle, self.labels = handle, Labels()

    def add(self, is_correct: bool, difficulty: int) -> None:
        self._handle.write(b",\n" if len(self.labels) else b'{"metadata": [\n')
        self._handle.write(orjson.dumps({"is_correct": is_correct, "difficulty": difficulty}))
        self.labels.add(is_correct, difficulty)

    def close(self) -> None:
        head = b"\n" if len(self.labels) else b'{"metadata": [\n'
        self._handle.write(head + b'], "stats": ' + orjson.dumps(self.labels.stats) + b"}\n")


@contextmanager
def metadata_file(path: str | Path) -> Iterator[MetadataWriter]:
    """A `*_metadata.json` that takes its name when the block ends well."""
    with atomic_file(path, "wb") as handle:
        writer = MetadataWriter(handle)
        yield writer
        writer.close()


def write_metadata(rows: str | Path, out: str | Path | None = None) -> Path:
    """Write the `*_metadata.json` of a file of rows, read once from end to end; where it was written."""
    out = metadata_path(rows) if out is None else Path(out)
    with metadata_file(out) as writer:
        for row in read_rows(rows):
            try:
                if isinstance(row.value, BadRow):
                    raise row.value
                writer.add(*_label(row.value, row.value.get("metadata")))
            except BadRow as bad:
                raise DataError(f"{Where(str(rows), row.line)}: {bad}") from bad
    return out


def read_metadata(path: str | Path) -> Labels:
    """The labels of a `*_metadata.json`, whoever wrote it, in constant memory but for three bytes a row."""
    labels = Labels()
    for row in read_rows(path):
        try:
            if isinstance(row.value, BadRow):
                raise row.value
            labels.add(*_label(row.value, row.value))
        except BadRow as bad:
            raise DataError(f"{path}: entry {row.line} of `metadata`: {bad}") from bad
    return labels


def _label(row: dict[str, Any], metadata: Any) -> tuple[bool, int]:
    match row.get("is_correct"), metadata:
        case bool(right), {"difficulty": int(level)} if not isinstance(level, bool) and -32768 <= level < 32768:
            return right, level
    raise BadRow("no label", "a row has `is_correct`, true or false, and `difficulty`, a whole number, in `metadata`")
