"""Is a data set whole? Each row by its schema, files by their SHA256, ids once, and no problem in two splits.

    train.jsonl          code rows        task_id      the problem, and its text
    test_problems.jsonl  problems         task_id      the problem
    dev.jsonl            dialogues, ...   row id       the row itself, whatever its columns are called

A row is remembered by three numbers of eight bytes; rows are read a second time only to say where something wrong is.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from ..errors import DataError
from ..runtime.files import read_json, sha256_file
from ..runtime.progress import counted, track
from .code_rows import Labels, check_row, metadata_path, problem_of, read_metadata
from .config import DataConfig
from .problems import problem_of_row
from .readers import BadRow, read_rows
from .schema import Where
from .sources import Skipped, read_examples

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_ENDINGS = (".jsonl", ".jsonl.gz", ".csv", ".tsv", ".parquet")
_SUFFIX = re.compile(r"_(small|python2|problems)$")
_SHOWN = 3
_TAIL = 1 << 16


class Keys(NamedTuple):
    """What a row is known by."""

    where: Where
    id: str
    problem: str
    text: str


@dataclass
class RowFile:
    """One file of rows, read from end to end."""

    path: Path
    kind: str
    rows: int = 0
    bad: dict[str, Skipped] = field(default_factory=dict)
    ids: array[int] = field(default_factory=lambda: array("q"))
    problems: set[int] = field(default_factory=set)
    texts: set[int] = field(default_factory=set)
    labels: Labels = field(default_factory=Labels)

    @property
    def split(self) -> str:
        """The split that the file belongs to: small sets and problems are parts of theirs."""
        name = _SUFFIX.sub("", self.path.name.partition(".")[0])
        return "valid" if name == "validation" else name

    def take(self, keys: Keys) -> None:
        self.rows += 1
        self.ids.append(hash(keys.id))
        self.problems.add(hash(keys.problem))
        self.texts.add(hash(keys.text))


@dataclass
class Validation:
    """What was found; prints itself."""

    path: Path
    files: list[RowFile] = field(default_factory=list)
    checked: int = 0
    """Files whose SHA256 was compared."""
    wrong: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.wrong

    def __str__(self) -> str:
        lines = [f"{file.path}: {counted(file.rows, 'row')}, {file.kind}" for file in self.files]
        lines += [f"SHA256 of {counted(self.checked, 'file')} as in the manifest"] if self.checked else []
        lines += self.notes
        lines += [f"wrong: {line}" for line in self.wrong] or ["nothing wrong was found"]
        return "\n".join(lines)


def validate(path: str | Path) -> Validation:
    """Look over a file of rows, or a folder of them with its manifest, labels and splits."""
    path = Path(path)
    if not path.exists():
        raise DataError(f"no such file or folder: {path}; name a file of rows or a folder that holds some")
    folder = path if path.is_dir() else path.parent
    files = _row_files(path)
    if not files:
        raise DataError(f"{path} holds no file of rows ({', '.join(_ENDINGS)})")
    found = Validation(path)
    _check_manifest(folder, None if path.is_dir() else path, found)
    for file in files:
        _check_rows(file, found)
    _check_leakage(found)
    return found


def _row_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    folders = [path, path / "processed"]
    return sorted(file for folder in folders for ending in _ENDINGS for file in folder.glob(f"[!.]*{ending}"))


# --- SHA256 ---------------------------------------------------------------------------------------


def _check_manifest(folder: Path, only: Path | None, found: Validation) -> None:
    try:
        listed = _listed(read_json(folder / "manifest.json"))
    except FileNotFoundError:
        found.notes.append(f"{folder} has no manifest.json, so no SHA256 was compared")
        return
    except (orjson.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        found.wrong.append(f"{folder / 'manifest.json'} is no manifest ({type(error).__name__}: {error})")
        return
    for name, sha256 in listed.items():
        path = folder / name
        if only is not None and path != only:
            continue
        if not path.is_file():
            found.wrong.append(f"{path} is in the manifest and not there")
        elif sha256_file(path) != sha256:
            found.wrong.append(f"{path} is not as in the manifest: its SHA256 differs")
        else:
            found.checked += 1


def _listed(manifest: dict[str, Any]) -> dict[str, str]:
    """File -> SHA256, of a manifest of either shape that `curricle prepare` writes."""
    entries = [(name, entry["sha256"]) for name, entry in manifest.get("files", {}).items()]
    if not entries:
        entries = [(entry["file"], entry["sha256"]) for entry in manifest["splits"].values()]
    return {str(name): str(sha256) for name, sha256 in entries}


# --- rows -----------------------------------------------------------------------------------------


def _check_rows(path: Path, found: Validation) -> None:
    if path.stat().st_size == 0:
        found.notes.append(f"{path} is empty")
        return
    try:
        file = RowFile(path, _kind(path))
    except DataError as error:
        found.wrong.append(str(error))
        return
    found.files.append(file)
    try:
        for keys in track(_keys(file), path.name):
            file.take(keys)
    except DataError as error:
        found.wrong.append(str(error))
    for reason, skipped in file.bad.items():
        found.wrong.append(
            f"{path}: {counted(skipped.count, 'row')}: {reason} (first: {', '.join(skipped.places[:_SHOWN])})"
        )
    _check_ids(file, found)
    _check_labels(file, found)


def _kind(path: Path) -> str:
    for row in read_rows(path):
        if isinstance(row.value, dict):
            names = set(row.value)
            if "tests" in names and "task_id" in names:
                return "problems"
            if "is_correct" in names or ("task_id" in names and "output" in names):
                return "code rows"
            return "examples"
    raise DataError(f"{path} holds no row that can be read")


def _keys(file: RowFile) -> Iterator[Keys]:
    """The keys of every good row; a bad one is counted."""
    if file.kind == "examples":
        yield from _example_keys(file)
        return
    read = _code_keys if file.kind == "code rows" else _problem_keys
    for row in read_rows(file.path):
        where = Where(str(file.path), row.line)
        try:
            if isinstance(row.value, BadRow):
                raise row.value
            yield read(row.value, where, file)
        except BadRow as bad:
            file.bad.setdefault(bad.kind, Skipped()).add(where)


def _code_keys(value: dict[str, Any], where: Where, file: RowFile) -> Keys:
    row = check_row(value)
    if not -32768 <= row.metadata.difficulty < 32768:
        raise BadRow("`metadata.difficulty` is beyond 16 bits")
    file.labels.add(row.is_correct, row.metadata.difficulty)
    return Keys(where, row.task_id, problem_of(row.task_id), _plain(row.instruction))


def _problem_keys(value: dict[str, Any], where: Where, file: RowFile) -> Keys:
    problem = problem_of_row(value)
    return Keys(where, problem.task_id, problem.task_id, _plain(problem.prompt))


@lru_cache(maxsize=2)  # the rows of a problem come one after another
def _plain(text: str) -> str:
    return " ".join(text.split()).lower()


def _example_keys(file: RowFile) -> Iterator[Keys]:
    source = read_examples(DataConfig(train=str(file.path), eval=str(file.path), on_bad_row="skip"), "eval")
    for example in source:
        yield Keys(example.where, example.id, example.id, example.id)
    file.kind = source.report.formats[str(file.path)]
    file.bad = source.report.skipped


def _check_ids(file: RowFile, found: Validation) -> None:
    import numpy as np

    values, counts = np.unique(np.frombuffer(file.ids, dtype=np.int64), return_counts=True)
    if len(twice := values[counts > 1]):
        rows = int((counts[counts > 1] - 1).sum())
        is_named = file.kind in ("problems", "code rows")
        what = f"{counted(rows, 'task_id')} used before" if is_named else f"{counted(rows, 'row')} again"
        found.wrong.append(f"{file.path}: {what} (first: {_places(file, twice, 'id')})")


def _check_labels(file: RowFile, found: Validation) -> None:
    path = metadata_path(file.path)
    if file.kind != "code rows" or not path.is_file():
        return
    try:
        labels = read_metadata(path)
    except DataError as error:
        found.wrong.append(str(error))
        return
    if len(labels) != file.rows:
        found.wrong.append(f"{path} has {len(labels):,} entries, {file.path.name} {file.rows:,} rows")
        return
    for number, (told, own) in enumerate(zip(labels, file.labels, strict=True), start=1):
        if told != own:
            found.wrong.append(f"{path}: entry {number} says {_said(told)}, the row of {file.path.name} {_said(own)}")
            break
    stats = _stats_of(path)
    if stats is not None and any(stats.get(name, value) != value for name, value in labels.stats.items()):
        found.wrong.append(f"{path}: its stats are not those of its entries")


def _said(label: tuple[bool, int]) -> str:
    return f"{'correct' if label[0] else 'incorrect'}, difficulty {label[1]}"


def _stats_of(path: Path) -> dict[str, Any] | None:
    """The `stats` that end a file of labels; None where they stand elsewhere."""
    with path.open("rb") as handle:
        handle.seek(max(path.stat().st_size - _TAIL, 0))
        _, name, rest = handle.read().rpartition(b'"stats"')
    try:
        stats = orjson.loads(b"{" + name + rest)["stats"] if name else None
    except orjson.JSONDecodeError:
        return None
    return stats if isinstance(stats, dict) else None


# --- leakage ----------------------------------------------------------------------------------------


def _check_leakage(found: Validation) -> None:
    """No problem, by name or by text, in the rows of two splits, nor among those trained on and those to be run."""
    for one, other in combinations(found.files, 2):
        if one.split == other.split:
            continue
        first, second = sorted((one, other), key=lambda file: file.split != "train")
        if "problems" in (first.kind, second.kind) and (first.kind == "problems" or first.split != "train"):
            continue  # a model is trained on rows, not on problems
        named, worded = first.problems & second.problems, first.texts & second.texts
        for by, both in (("id", named), ("text", worded)):
            if both:
                place = _places(first, _array(both), "problem" if by == "id" else "text")
                noun = "problem" if first.kind == "code rows" else "row"
                found.wrong.append(
                    f"{counted(len(both), noun)} of {second.path.name} {'are' if len(both) > 1 else 'is'} in "
                    f"{first.path.name} too, by {by if noun == 'problem' else 'content'} (first: {place})"
                )
                break


def _array(values: set[int]) -> npt.NDArray[np.int64]:
    import numpy as np

    return np.fromiter(values, dtype=np.int64)


def _places(file: RowFile, wanted: npt.NDArray[np.int64], key: str) -> str:
    """Where rows with these keys are: of an id that is used twice the second, of a problem the first."""
    left, seen, places = set(wanted.tolist()), set(), []
    for keys in _keys(RowFile(file.path, file.kind if file.kind in ("problems", "code rows") else "examples")):
        value = hash(getattr(keys, key))
        if value not in left:
            continue
        if key == "id" and value not in seen:
            seen.add(value)
            continue
        left.discard(value)
        name = "" if keys.problem == keys.text else f" {keys.id if key == 'id' else keys.problem}"
        places.append(f"{keys.where}{name}")
        if len(places) == _SHOWN:
            break
    return ", ".join(places)
