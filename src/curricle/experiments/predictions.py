"""Answers in a file, whoever wrote them, put beside the references they are to be compared with.

    predictions                      data                                   pairs
    {"id": 7, "prediction": "A"}     {"id": 8, ..., "summary": "b"}         7: A with a
    {"id": 8, "prediction": "B"}     {"id": 7, ..., "summary": "a"}         8: B with b

Rows are matched by id; where the predictions have none, by their number. What does not fit (answers that are missing,
given twice, empty, or of no row) is counted and said, and refused where a figure would not mean what it seems to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..data.config import DataConfig
from ..data.formats import lookup
from ..data.prompts import comparable
from ..data.readers import BadRow, json_name, read_rows
from ..data.sources import ExampleSource
from ..errors import DataError, nearest
from ..runtime.files import sha256_file
from ..runtime.progress import counted

Id = str | int | float
ID_COLUMNS = ("id", "fname")
TEXT_COLUMNS = ("prediction", "summary")
SHOWN = 5


@dataclass(frozen=True)
class Predictions:
    """A file of answers, read."""

    path: Path
    texts: list[str]
    ids: list[str] | None
    """None where the file has no column for them."""


@dataclass(frozen=True)
class Pairs:
    """Answers beside their references, in the order of the data."""

    ids: list[str]
    predictions: list[str]
    references: list[tuple[str, ...]]
    notes: list[str] = field(default_factory=list)
    """What a person should know of how they were matched."""
    files: list[dict[str, str]] = field(default_factory=list)


def read_predictions(path: str | Path, id_column: str | None = None, text_column: str | None = None) -> Predictions:
    """The answers of a .jsonl, .json, .csv, .tsv or .parquet file; an answer that is null is an empty one."""
    rows = whole_rows(path)
    columns = rows[0][1]
    text = _column(path, columns, text_column, TEXT_COLUMNS, "--text-column", "the answers")
    assert text is not None
    ids = _column(path, columns, id_column, ID_COLUMNS, "--id-column", None)
    return Predictions(
        Path(path),
        [_text(value.get(text), f"{path}:{line}", text) for line, value in rows],
        None if ids is None else [str(_id(value, ids, f"{path}:{line}")) for line, value in rows],
    )


def whole_rows(path: str | Path) -> list[tuple[int, dict[str, Any]]]:
    """Every row of a file with its line; one that is broken is refused."""
    rows = []
    for row in read_rows(path):
        if isinstance(row.value, BadRow):
            raise DataError(f"{path}:{row.line}: {row.value}")
        rows.append((row.line, row.value))
    if not rows:
        raise DataError(f"{path} holds no row")
    return rows


def _column(
    path: str | Path, columns: Mapping[str, Any], asked: str | None, known: Sequence[str], flag: str, what: str | None
) -> str | None:
    """The column asked for, or the first known one; None only where nothing says that it must be there."""
    if asked is not None:
        if asked not in columns:
            raise DataError(f"{path}: no column `{asked}` ({flag}); {nearest(asked, columns)}")
        return asked
    found = next((name for name in known if name in columns), None)
    if found is None and what is not None:
        names = ", ".join(f"`{name}`" for name in columns)
        raise DataError(f"{path}: which column holds {what}? It has {names}; name one with {flag}")
    return found


def _text(value: Any, place: str, column: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(f"{place}: `{column}` is {json_name(value)}, expected text")
    return value


def _id(row: Mapping[str, Any], column: str, place: str) -> Id:
    value = lookup(dict(row), column)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(f"{place}: `{column}` is {json_name(value)}, expected an id")
    return value


def row_ids(path: str | Path, id_column: str | None = None) -> tuple[str | None, dict[int, Id]]:
    """The id column of a data file (None where it has none: rows then go by number), and the id of the row on each
    line, as it is written there."""
    rows = whole_rows(path)
    columns = rows[0][1]
    column = next((name for name in (id_column, *ID_COLUMNS) if name is not None and name in columns), None)
    if column is None:
        return None, {line: number for number, (line, _) in enumerate(rows, start=1)}
    return column, {line: _id(value, column, f"{path}:{line}") for line, value in rows}


def match(
    predictions: Predictions, data: DataConfig, id_column: str | None = None, allow_missing: bool = False
) -> Pairs:
    """Each row of `data.eval` that has a reference, with its answer.

    A row without an answer is refused, or with `allow_missing` counted as answered by nothing.
    """
    rows = _Rows(data, id_column)
    notes = rows.notes()
    if predictions.ids is None:
        ids = rows.numbers
        answers = _by_number(predictions, rows)
        notes.append("matched by row number: the predictions have no ids")
    else:
        answers = _once_each(predictions, notes)
        ids = _ids_that_fit(predictions, rows, answers)
    scored = [(id_, references) for id_, references in zip(ids, rows.references, strict=True) if references]
    _account(predictions.path, answers, ids, [id_ for id_, _ in scored], allow_missing, notes)
    return Pairs(
        ids=[id_ for id_, _ in scored],
        predictions=[answers.get(id_, "") for id_, _ in scored],
        references=[texts for _, texts in scored],
        notes=notes,
        files=[
            {"path": str(path), "sha256": sha256_file(path)} for path in (str(predictions.path), *rows.source_paths)
        ],
    )


def _account(
    path: Path, answers: Mapping[str, str], ids: list[str], scored: list[str], allow_missing: bool, notes: list[str]
) -> None:
    """Count what is too much, missing or empty; refuse what would make a figure mean something else."""
    unknown = answers.keys() - set(ids)
    if unknown:
        notes.append(f"answers to no row of the data, left out: {len(unknown):,} (first: {_few(sorted(unknown))})")
    missing = [id_ for id_ in scored if id_ not in answers]
    if missing:
        said = f"{len(missing):,} of {len(scored):,} rows have no answer (first: {_few(missing)})"
        if not allow_missing:
            raise DataError(f"{path}: {said}; --allow-missing counts them as empty answers")
        notes.append(f"{said}, counted as empty answers")
    empty = [id_ for id_ in scored if not answers.get(id_, "x").strip()]
    if empty:
        notes.append(f"empty answers: {len(empty):,} (first: {_few(empty)})")


def _by_number(predictions: Predictions, rows: _Rows) -> dict[str, str]:
    if len(predictions.texts) != len(rows.numbers):
        raise DataError(
            f"{predictions.path} has no column of ids ({' or '.join(ID_COLUMNS)}; --id-column names another) and "
            f"{len(predictions.texts):,} answers, where {rows.where} has {len(rows.numbers):,} rows: they cannot be "
            "matched by number"
        )
    return dict(zip(rows.numbers, predictions.texts, strict=True))


class _Rows:
    """The rows of `data.eval`: their references, and every way in which they may be named."""

    def __init__(self, data: DataConfig, id_column: str | None) -> None:
        source = ExampleSource(data, "eval")
        self.source_paths = [file.path for file in source.files]
        self.where = " and ".join(self.source_paths)
        columns, own = zip(*(row_ids(path, id_column) for path in self.source_paths), strict=True)
        by_place = {
            (path, line): str(id_)
            for path, ids in zip(self.source_paths, own, strict=True)
            for line, id_ in ids.items()
        }
        examples = list(source)
        self.report = source.report
        self.blank = sum(bool(example.references) and not comparable(example.references) for example in examples)
        self.references = [example.references if comparable(example.references) else () for example in examples]
        self.numbers = [str(number) for number in range(1, len(examples) + 1)]
        self.contents = [example.id for example in examples]
        self.own = [by_place[example.where.file, example.where.line] for example in examples] if all(columns) else None
        self.listed = bool(data.references)
        if not any(self.references):
            raise DataError(
                f"{self.where}: no row has a reference to compare with; name their columns in data.references "
                "(--set data.references=[summary1, summary2])"
            )

    def notes(self) -> list[str]:
        counts = Counter(map(len, self.references))
        none = counts.pop(0, 0)
        shown = ", ".join(f"{num} for {counted(rows, 'row')}" for num, rows in sorted(counts.items()))
        notes = [*self.report.remarks(), f"references: {shown}"]
        if none:
            empty = f" ({self.blank:,} of them have only empty ones)" if self.blank else ""
            notes.append(f"rows without a reference, left out: {none:,}{empty}")
        if not self.listed and (more := _numbered(self.report.columns)):
            notes.append(
                f"the rows have {', '.join(more)}: are these references too? Then name them in data.references"
            )
        return notes


def _numbered(columns: Iterable[str]) -> list[str]:
    """Columns such as summary1, summary2: several of one name."""
    stems = Counter(name.rstrip("0123456789") for name in columns if name[-1:].isdigit())
    return [name for name in columns if name[-1:].isdigit() and stems[name.rstrip("0123456789")] > 1]


def _once_each(predictions: Predictions, notes: list[str]) -> dict[str, str]:
    """Answers by id; the same one twice is said, two different ones are refused."""
    answers: dict[str, str] = {}
    repeated = []
    for id_, text in zip(predictions.ids or (), predictions.texts, strict=True):
        if answers.setdefault(id_, text) != text:
            raise DataError(
                f"{predictions.path}: `{id_}` is answered twice, and not alike; keep one answer for each id"
            )
        repeated.append(id_)
    again = [id_ for id_, count in Counter(repeated).items() if count > 1]
    if again:
        notes.append(f"ids given more than once, with the same answer: {len(again):,} (first: {_few(again)})")
    return answers


def _ids_that_fit(predictions: Predictions, rows: _Rows, answers: Mapping[str, str]) -> list[str]:
    """The way of naming rows that the predictions use: the data's own ids, ours (by content), or row numbers."""
    for ids in (rows.own, rows.contents, rows.numbers):
        if ids is not None and not answers.keys().isdisjoint(ids):
            if len(set(ids)) < len(ids):
                twice = [id_ for id_, count in Counter(ids).items() if count > 1]
                raise DataError(
                    f"{rows.where}: several rows have the same id: {counted(len(twice), 'id')} (first: {_few(twice)})"
                )
            return ids
    theirs = rows.own or rows.numbers
    raise DataError(
        f"{predictions.path}: none of its ids is in {rows.where}; it has {_few(list(answers))}, the data "
        f"{_few(theirs)} (--id-column names another column)"
    )


def _few(ids: Sequence[str]) -> str:
    return ", ".join(ids[:SHOWN]) + (", ..." if len(ids) > SHOWN else "")
