"""From the `data:` section of a recipe to a stream of examples, with an account of what was read and what was not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

from ..errors import DataError, RecipeError
from ..runtime.files import sha256_file
from ..runtime.fingerprint import fingerprint
from ..runtime.progress import counted, say
from .config import DataConfig, Source
from .dataset_info import Entry, load_entries, read_entry
from .dialogue import DialoguePrompt
from .formats import Layout, check_layout, detect, read_row
from .readers import BadRow, Row, read_rows
from .schema import Example, Where
from .store import check_kind, open_store, select

_LOOKED_AT = 20  # rows that `format: auto` looks at
_DIGITS = 12  # of a row's hash, which say where between 0 and 1 it lies
_PLACES = 5  # first places kept of each kind of bad row

# The settings that decide what an example is; the others decide how it is tokenized and ordered.
_READING = (
    "format",
    "fields",
    "references",
    "domain_field",
    "system_prompt",
    "show_system_prompt",
    "prompt",
    "question",
    "keywords",
    "question_without_keywords",
    "speaker_prefix",
    "on_bad_row",
)

# The same, of settings that most recipes lack: those keep the fingerprint that they had before these settings came.
_BROUGHT = ("reward_field", "weight_field")


@dataclass(frozen=True)
class FileInfo:
    """A file as it was when it was read."""

    path: str
    sha256: str
    bytes: int


@dataclass
class Skipped:
    """Rows left out for one reason."""

    count: int = 0
    places: list[str] = field(default_factory=list)

    def add(self, where: Where) -> None:
        self.count += 1
        if len(self.places) < _PLACES:
            self.places.append(str(where))


@dataclass
class ReadReport:
    """What one pass over the files read, and what it did not."""

    rows: int = 0
    """Examples handed on."""
    skipped: dict[str, Skipped] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    """Examples of each file."""
    formats: dict[str, str] = field(default_factory=dict)
    columns: Counter[str] = field(default_factory=Counter)
    """In how many rows each column was seen."""
    empty_targets: Skipped = field(default_factory=Skipped)
    """Rows whose target holds nothing but white space; they are handed on."""
    notes: list[str] = field(default_factory=list)

    @property
    def num_skipped(self) -> int:
        return sum(reason.count for reason in self.skipped.values())

    def lines(self) -> list[str]:
        """The account for a person: one line a file, one a reason."""
        return [
            *(f"{path}: {counted(count, 'row')}, {self.formats[path]}" for path, count in self.files.items()),
            *self.remarks(),
        ]

    def remarks(self) -> list[str]:
        """What was not as asked: rows left out, empty targets, fewer rows than named."""
        out = []
        for reason, skipped in sorted(self.skipped.items()):
            out.append(f"skipped {counted(skipped.count, 'row')}: {reason} (first: {', '.join(skipped.places)})")
        if self.empty_targets.count:
            out.append(
                f"{counted(self.empty_targets.count, 'empty target')} (first: {', '.join(self.empty_targets.places)})"
            )
        return out + self.notes

    def __str__(self) -> str:
        return "\n".join(self.lines())


@dataclass(frozen=True)
class _File:
    """A source, settled but for its format."""

    source: Source
    entry: Entry | None

    @property
    def path(self) -> Path:
        return self.entry.path if self.entry else Path(self.source.path)


class ExampleSource:
    """The examples of `data.train` or `data.eval`, read anew on each pass, in constant memory."""

    def __init__(self, config: DataConfig, which: Literal["train", "eval"]) -> None:
        self.config, self.which = config, which
        entries = load_entries(config.dataset_info) if config.dataset_info else None
        self._files = [self._settle(source, entries) for source in config.sources(which)]
        if not self._files:
            raise RecipeError(f"data.{which} names no file; give a path or a list of paths")
        self._layouts: dict[int, Layout] = {}
        self.report = ReadReport()
        for file in self._files:
            # A file that is missing or of an unknown kind is said before any work begins.
            read_rows(file.path)
            if file.source.select is not None:
                check_kind(file.path)

    def _settle(self, source: Source, entries: dict[str, dict[str, Any]] | None) -> _File:
        if entries is None or (source.path not in entries and Path(source.path).exists()):
            return _File(source, None)
        assert self.config.dataset_info is not None
        return _File(source, read_entry(self.config.dataset_info, source.path, entries))

    @cached_property
    def files(self) -> tuple[FileInfo, ...]:
        paths = (file.path for file in self._files)
        return tuple(FileInfo(str(path), sha256_file(path), path.stat().st_size) for path in paths)

    @cached_property
    def fingerprint(self) -> str:
        """Changes when a file, or a setting that decides what its examples are, changes."""
        settings = {key: getattr(self.config, key) for key in _READING}
        settings |= {key: value for key in _BROUGHT if (value := getattr(self.config, key)) is not None}
        files = [
            (
                info.sha256,
                self._limit(file),
                file.entry and replace(file.entry, path=Path(file.path.name)),
                *([file.source.select.model_dump()] if file.source.select else []),
                *([file.source.between] if file.source.between else []),
                *([file.source.domain] if file.source.domain else []),
            )
            for info, file in zip(self.files, self._files, strict=True)
        ]
        return fingerprint(self.which, settings, files)

    def _limit(self, file: _File) -> int | None:
        asked = (self.config.limit, file.source.rows, file.entry.rows if file.entry else None)
        return min((rows for rows in asked if rows is not None), default=None)

    def __iter__(self) -> Iterator[Example]:
        self.report = ReadReport()
        for index, file in enumerate(self._files):
            yield from self._examples(index, file)

    def _examples(self, index: int, file: _File) -> Iterator[Example]:
        name, limit = str(file.path), self._limit(file)
        rows = islice(self._rows(file), limit)
        head = list(islice(rows, _LOOKED_AT))
        layout = self._layouts.get(index) or self._layouts.setdefault(index, self._layout(file, head))
        taken = seen = 0
        report = self.report
        report.formats[name] = layout.format
        between = file.source.between
        for row in chain(head, rows):
            seen += 1
            if between is not None and not _lies(row, between):
                continue
            example = self._read(row, layout, name, index)
            if example is not None:
                taken += 1
                report.rows += 1
                report.files[name] = report.files.get(name, 0) + 1
                yield example
        if not taken:
            part = f" between {between[0]:g} and {between[1]:g}" if between else ""
            raise DataError(f"{name} holds no usable row{part} ({seen:,} looked at, {report.num_skipped:,} skipped)")
        if limit is not None and limit == file.source.rows and seen < limit:
            report.notes.append(f"{name}: {limit:,} rows were asked for, {seen:,} are there")

    def _rows(self, file: _File) -> Iterator[Row]:
        selection = file.source.select
        if selection is None:
            return read_rows(file.path)
        store = open_store(file.path, selection.columns)
        chosen = select(store, selection)
        self.report.notes += [f"{file.path}: {remark}" for remark in chosen.account.remarks()]
        return store.read(chosen.indices)

    def _read(self, row: Row, layout: Layout, name: str, index: int) -> Example | None:
        where = Where(name, row.line)
        try:
            if isinstance(row.value, BadRow):
                raise row.value
            example = read_row(row.value, layout, where, index)
        except BadRow as bad:
            if self.config.on_bad_row == "error":
                raise DataError(f"{where}: {bad} (data.on_bad_row: skip would leave such rows out)") from bad
            self.report.skipped.setdefault(bad.kind, Skipped()).add(where)
            return None
        if (domain := self._files[index].source.domain) is not None:
            example = replace(example, domain=domain)
        if not self.config.show_system_prompt:
            example = replace(example, messages=tuple(m for m in example.messages if m.role != "system"))
        self.report.columns.update(row.value.keys())
        if example.target is not None and not example.target.strip():
            self.report.empty_targets.add(where)
        return example

    def _layout(self, file: _File, head: list[Row]) -> Layout:
        config, entry = self.config, file.entry
        layout = Layout(
            format=entry.format if entry else config.format,
            dialogue=DialoguePrompt.of(config),
            fields=entry.fields if entry else config.fields,
            references=tuple(config.references),
            domain_field=None if file.source.domain else config.domain_field,
            reward_field=config.reward_field,
            weight_field=config.weight_field,
            system_prompt=config.system_prompt,
            roles=entry.roles if entry else {},
            need_target=self.which == "train",
        )
        if layout.format == "auto":
            good = [(Where(str(file.path), row.line), row.value) for row in head if isinstance(row.value, dict)]
            if not good:
                found = (
                    f"{Where(str(file.path), head[0].line)}: {head[0].value}" if head else f"{file.path} holds no row"
                )
                raise DataError(f"{found}; no row to tell the format from")
            taken, column = detect(good, config.fields)
            say(f"{file.path}: read as {taken} (its rows have `{column}`)")
            layout = replace(layout, format=taken)
        return check_layout(layout)


def _lies(row: Row, between: tuple[float, float]) -> bool:
    """Whether a row is among those asked for: by what is in it, so that a copy goes where the original goes. A row that
    cannot be read is handed on, to be reported."""
    if isinstance(row.value, BadRow):
        return True
    place = int(fingerprint(row.value)[:_DIGITS], 16) / 16**_DIGITS
    return between[0] <= place < between[1]


def read_examples(config: DataConfig, which: Literal["train", "eval"] = "train") -> ExampleSource:
    """The examples of a recipe's `data.train` or `data.eval`.

    Files that are missing or of an unknown kind are refused here; rows are read when the source is iterated. Its
    `report` is complete after a full pass.
    """
    return ExampleSource(config, which)
