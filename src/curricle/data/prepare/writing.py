"""What preparing is for every data set: find the files, convert row by row, write whole files, keep account."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson

from ...errors import DataError
from ...runtime.files import atomic_file, sha256_file, write_json
from ...runtime.progress import track
from ..readers import BadRow, Row, read_rows
from ..schema import Where
from ..sources import Skipped


@dataclass(frozen=True)
class Dataset:
    """How one public data set is laid out, and what becomes of a row of it."""

    name: str
    licence: str
    splits: dict[str, tuple[str, ...]]
    """Split -> file names under which it is handed out; the first one found is read."""
    optional: frozenset[str]
    """Splits that a folder may lack."""
    convert: Callable[[dict[str, Any], Account], dict[str, Any]]
    """A row as we write it; `BadRow` leaves it out, counted."""
    notes: tuple[str, ...] = ()
    read: Callable[[Path], Iterator[Row]] = read_rows


@dataclass
class Account:
    """What happened to the rows of one split."""

    source: str
    source_sha256: str
    read: int = 0
    written: int = 0
    dropped: dict[str, Skipped] = field(default_factory=dict)
    """Rows left out, by reason."""
    changed: dict[str, int] = field(default_factory=dict)
    """Rows written in another form than they came, by what was done."""

    def change(self, what: str) -> None:
        self.changed[what] = self.changed.get(what, 0) + 1


@dataclass
class Prepared:
    """What was written; `str` is the account for a person, `manifest.json` beside the files the one for programs."""

    name: str
    out: Path
    licence: str
    splits: dict[str, Account]
    notes: list[str]

    @property
    def files(self) -> dict[str, Path]:
        return {split: self.out / f"{split}.jsonl" for split in self.splits}

    def __str__(self) -> str:
        lines = []
        for split, account in self.splits.items():
            lines.append(f"{self.out / split}.jsonl: {account.written:,} of {account.read:,} rows of {account.source}")
            for reason, dropped in account.dropped.items():
                lines.append(f"  left out {dropped.count:,}: {reason} (first: {', '.join(dropped.places)})")
            lines += [f"  {what}: {count:,} rows" for what, count in account.changed.items()]
        return "\n".join([*lines, *self.notes, f"licence: {self.licence}"])


def write_splits(dataset: Dataset, src: Path, out: Path) -> Prepared:
    """All splits, each file taking its name only when every one is complete; the manifest last."""
    found = _find(dataset, src)
    absent = [split for split in dataset.splits if split not in found]
    notes = [*dataset.notes, *(f"{src} holds no {split} split, so none was written" for split in absent)]
    prepared = Prepared(dataset.name, out, dataset.licence, {}, notes)
    with ExitStack() as files:
        for split, path in found.items():
            account = prepared.splits[split] = Account(path.name, sha256_file(path))
            handle = files.enter_context(atomic_file(out / f"{split}.jsonl", "wb"))
            _write(dataset, path, handle, account)
            if not account.written:
                raise DataError(f"{path}: none of its {account.read:,} rows can be used; is it {dataset.name}?")
    written = {
        split: {"file": path.name, "sha256": sha256_file(path), **asdict(prepared.splits[split])}
        for split, path in prepared.files.items()
    }
    manifest = {"name": dataset.name, "licence": dataset.licence, "splits": written, "notes": prepared.notes}
    write_json(out / "manifest.json", manifest)
    return prepared


def _find(dataset: Dataset, src: Path) -> dict[str, Path]:
    if not src.is_dir():
        raise DataError(f"{src} is no folder; prepare {dataset.name} reads one with {_expected(dataset)}")
    found = {}
    for split, names in dataset.splits.items():
        path = next((src / name for name in names if (src / name).is_file()), None)
        if path is not None:
            found[split] = path
        elif split not in dataset.optional:
            raise DataError(f"{src} lacks the {split} split of {dataset.name}; expected {_expected(dataset)}")
    return found


def _expected(dataset: Dataset) -> str:
    return ", ".join(
        " or ".join(names) + (" (optional)" if split in dataset.optional else "")
        for split, names in dataset.splits.items()
    )


def _write(dataset: Dataset, path: Path, handle: IO[bytes], account: Account) -> None:
    for row in track(dataset.read(path), f"{dataset.name} {path.name}"):
        account.read += 1
        try:
            if isinstance(row.value, BadRow):
                raise row.value
            converted = dataset.convert(row.value, account)
        except BadRow as bad:
            account.dropped.setdefault(bad.kind, Skipped()).add(Where(path.name, row.line))
            continue
        handle.write(orjson.dumps(converted, option=orjson.OPT_APPEND_NEWLINE))
        account.written += 1


def text_of(row: dict[str, Any], field_name: str) -> str:
    """A field that must hold text."""
    value = row.get(field_name)
    if not isinstance(value, str) or not value.strip():
        raise BadRow(f"no text in `{field_name}`")
    return value
