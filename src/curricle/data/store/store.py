"""A JSON Lines or Parquet file of any size, opened through its index: columns to choose by, rows by their numbers."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from ...errors import DataError, RecipeError, nearest
from ...runtime.cache import locked
from ...runtime.progress import counted, say
from ..readers import BadRow, Row, json_name, read_rows
from . import index_file
from .columns import Array, Kind
from .index_file import Contents
from .parquet import ParquetRows, scan_parquet
from .scan import JsonLines, scan

_WINDOW = 4096  # rows that are fetched together, in the order of the file
_LONGEST_READ = 1 << 20
_SHOWN = 5


class Store:
    """Rows and columns of a file. Made by `open_store`; may be sent to another process, which opens the file anew."""

    def __init__(self, path: Path, handle: int, contents: Contents, reopen: tuple[Any, ...]) -> None:
        self.path, self.num_rows, self._contents, self._reopen = path, contents.num_rows, contents, reopen
        self._handle = handle
        self.close = weakref.finalize(self, os.close, handle)
        """Give the file back; done by itself when nobody holds the store any more."""
        self._parquet = ParquetRows(path) if ":offsets" not in contents.arrays else None

    def __len__(self) -> int:
        return self.num_rows

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return open_store, self._reopen

    def __str__(self) -> str:
        """What the index holds, for a person."""
        out = [f"{self.path}: {counted(self.num_rows, 'row')}, {self.bytes_per_row:.1f} bytes of index each"]
        for name, kind in self.kinds.items():
            none_n = self.missing(name)
            without = f"; {counted(int(none_n.sum()), 'row')} without it" if none_n.any() else ""
            out.append(
                f"  {name}: {_described(self.column(name)[~none_n], kind, self._contents.texts.get(name))}{without}"
            )
        return "\n".join(out)

    @property
    def kinds(self) -> dict[str, Kind]:
        """The columns of the index, and what each holds: bool, int, float or text."""
        return self._contents.kinds

    def column(self, name: str) -> Array:
        """One column, read-only and mapped: true and false (int8 with -1 where some rows have none), numbers (NaN where
        a row has none), and for text the numbers of `texts(name)`, -1 where a row has none."""
        self._known(name)
        values = self._contents.arrays[name]
        is_whole = self.kinds[name] == "bool" and not (values < 0).any()
        return values.view(np.bool_) if is_whole else values

    def texts(self, name: str) -> list[str]:
        """The different texts of a column, in the order in which they appear in the file."""
        self._known(name)
        if self.kinds[name] != "text":
            raise RecipeError(f"column `{name}` of {self.path} holds {self.kinds[name]}, not text")
        return self._contents.texts[name]

    def missing(self, name: str) -> npt.NDArray[np.bool_]:
        """Which rows do not have a column, or have null there."""
        values = self.column(name)
        if values.dtype.kind == "f":
            return np.isnan(values)
        coded = self.kinds[name] == "text" or (self.kinds[name] == "bool" and values.dtype != np.bool_)
        return values < 0 if coded else np.zeros(len(values), dtype=np.bool_)

    def _known(self, name: str) -> None:
        if name not in self.kinds:
            raise RecipeError(
                f"the index of {self.path} has no column `{name}`; {nearest(name, self.kinds)}. "
                "Name it when opening: open_store(path, columns=[...])"
            )

    @property
    def bytes_per_row(self) -> float:
        """What the index keeps of each row, texts included."""
        texts = sum(len(text.encode()) for held in self._contents.texts.values() for text in held)
        return (sum(values.nbytes for values in self._contents.arrays.values()) + texts) / self.num_rows

    def rows(self, indices: Sequence[int] | npt.NDArray[Any]) -> Iterator[dict[str, Any]]:
        """The rows of these numbers (from 0), in the order asked for; a broken one stops with its line."""
        for window_n in self._windows(indices):
            for number, value in zip(window_n, self._values(window_n), strict=True):
                if isinstance(value, BadRow):
                    raise DataError(f"{self.path}:{self.line(number)}: {value}")
                yield value

    def read(self, indices: Sequence[int] | npt.NDArray[Any]) -> Iterator[Row]:
        """The same with their lines; a broken row is handed on as a `BadRow`."""
        for window_n in self._windows(indices):
            for number, value in zip(window_n, self._values(window_n), strict=True):
                yield Row(self.line(number), value)

    def raw(self, indices: Sequence[int] | npt.NDArray[Any]) -> Iterator[bytes]:
        """The lines of these rows as they are in the file, without their ends; of Parquet, rows as JSON."""
        if self._parquet:
            yield from (orjson.dumps(row, default=str) for row in self.rows(indices))
            return
        for window_n in self._windows(indices):
            yield from (line.strip() for line in self._in_file_order(window_n, self._bytes))

    def line(self, number: int) -> int:
        """The line of a row, from 1, blank lines counted; of Parquet, its number from 1."""
        blanks = self._contents.arrays.get(":blanks", ())
        return int(number) + 1 + int(np.searchsorted(blanks, number, side="right"))

    def _windows(self, indices: Sequence[int] | npt.NDArray[Any]) -> Iterator[npt.NDArray[np.int64]]:
        """The numbers some thousands at a time, for as long as the file is the one that was opened."""
        wanted_n = self._checked(indices)
        for start in range(0, len(wanted_n), _WINDOW):
            self._refuse_changed()
            yield wanted_n[start : start + _WINDOW]

    def _values(self, window_n: npt.NDArray[np.int64]) -> list[Any]:
        if self._parquet:
            return self._in_file_order(window_n, self._parquet.sorted_rows)
        return [_row(line) for line in self._in_file_order(window_n, self._bytes)]

    def _in_file_order(
        self, window_n: npt.NDArray[np.int64], fetch: Callable[[npt.NDArray[np.int64]], Iterator[Any]]
    ) -> list[Any]:
        """What `fetch` gives for these rows, asked in the order of the file, handed on in the order given."""
        if (window_n[1:] > window_n[:-1]).all():
            return list(fetch(window_n))
        unique_n, place_n = np.unique(window_n, return_inverse=True)
        held = list(fetch(unique_n))
        return [held[place] for place in place_n]

    def _checked(self, indices: Sequence[int] | npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        wanted_n = np.asarray(indices)
        if wanted_n.size == 0:
            return np.empty(0, dtype=np.int64)
        if wanted_n.ndim != 1 or wanted_n.dtype.kind not in "iu":
            raise RecipeError(
                f"rows are asked for by whole numbers, in a list; found {wanted_n.dtype}, {wanted_n.shape}"
            )
        low, high = int(wanted_n.min()), int(wanted_n.max())
        if low < 0 or high >= self.num_rows:
            wrong = low if low < 0 else high
            raise RecipeError(f"row {wrong} of {self.path} was asked for; it has rows 0 to {self.num_rows - 1}")
        return wanted_n.astype(np.int64)

    def _refuse_changed(self) -> None:
        """A file that was written to is not read by the places that its old rows had."""
        if not self.close.alive:
            raise DataError(f"{self.path} was closed; open it again with open_store")
        about, then = os.fstat(self._handle), self._contents.data
        if (about.st_size, about.st_mtime_ns) != (then["bytes"], then["mtime_ns"]):
            raise DataError(f"{self.path} changed after it was opened; open it again, which makes a new index")

    def _bytes(self, rows_n: npt.NDArray[np.int64]) -> Iterator[bytes]:
        """Rows whose numbers ascend; neighbours are read at once."""
        offsets = self._contents.arrays[":offsets"]
        begins, ends = offsets[rows_n].tolist(), offsets[rows_n + 1].tolist()
        first = 0
        while first < len(begins):
            last = first
            while (
                last + 1 < len(begins)
                and begins[last + 1] == ends[last]
                and ends[last + 1] - begins[first] <= _LONGEST_READ
            ):
                last += 1
            start, size = begins[first], ends[last] - begins[first]
            data = os.pread(self._handle, size, start)
            if len(data) != size:
                data = JsonLines(self.path, self._handle).read(start, start + size)
            for row in range(first, last + 1):
                yield data[begins[row] - start : ends[row] - start] if last > first else data
            first = last + 1


def _described(values: Array, kind: Kind, texts: list[str] | None) -> str:
    """The values that a column has, in a line."""
    if kind == "bool":
        return f"{int((values == 1).sum()):,} true, {int((values == 0).sum()):,} false"
    if texts is not None:
        shown = ", ".join(text[:40] for text in texts[:_SHOWN]) + (", ..." if len(texts) > _SHOWN else "")
        return f"{counted(len(texts), 'text')} ({shown})"
    return f"numbers from {values.min():g} to {values.max():g}"


def _row(line: bytes) -> dict[str, Any] | BadRow:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return BadRow("not JSON", f"{error.msg} at column {error.colno}")
    return value if isinstance(value, dict) else BadRow("not an object", f"found {json_name(value)}, expected {{...}}")


# --- opening ----------------------------------------------------------------------------------------


def check_kind(path: Path) -> None:
    """Refuse a file whose rows cannot be found by their numbers."""
    if path.suffix.lower() not in (".jsonl", ".parquet"):
        hint = f"; unpack it first (gunzip -k {path.name})" if path.suffix == ".gz" else ""
        raise DataError(f"{path}: rows by their numbers need a .jsonl or .parquet file{hint}")


def open_store(path: str | Path, columns: Sequence[str] = (), folder: str | Path | None = None) -> Store:
    """Open a .jsonl or .parquet file through its index, which is made when there is none that fits.

    `columns` are those that the index must have, with a dot reaching inside objects: `metadata.difficulty`. The index
    is a file beside the data (`<data>.curricle-index`), in `folder` when that is given, or in the cache when the data's
    folder cannot be written. It is made anew when the data file changed; of several that need it, one does it.
    """
    path, columns = Path(path), tuple([columns] if isinstance(columns, str) else columns)
    check_kind(path)
    read_rows(path)  # says what is wrong with a file that is missing or empty
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        contents = _index(path, handle, columns, None if folder is None else Path(folder))
        return Store(path, handle, contents, (path, columns, folder))
    except BaseException:
        os.close(handle)
        raise


def _index(path: Path, handle: int, columns: tuple[str, ...], folder: Path | None) -> Contents:
    places = [folder / f"{path.name}{index_file.ENDING}"] if folder else _places(path)
    now = index_file.identity(handle)
    found = _fresh(places, now, columns)
    if found is None or not set(columns) <= set(found.kinds):
        with locked(places[-1]):
            found = _fresh(places, now, columns)  # made by another process meanwhile?
            if found is None or not set(columns) <= set(found.kinds):
                kept = list(found.kinds) if found else []
                found = _build(path, handle, list(dict.fromkeys([*kept, *columns])), places[-1])
    return found


def _places(path: Path) -> list[Path]:
    """Where an index may lie, the place to write it to last."""
    side = [index_file.beside(path), index_file.in_cache(path)]
    effective = os.access in os.supports_effective_ids
    return side[::-1] if os.access(path.absolute().parent, os.W_OK, effective_ids=effective) else side


def _fresh(places: list[Path], now: dict[str, Any], columns: tuple[str, ...]) -> Contents | None:
    """An index of the file as it is now; one that has the columns if there is such a one."""
    held = [found for place in reversed(places) if (found := index_file.read(place)) and found.data == now]
    return next((found for found in held if set(columns) <= set(found.kinds)), held[0] if held else None)


def _build(path: Path, handle: int, columns: list[str], place: Path) -> Contents:
    before = index_file.identity(handle)
    is_parquet = path.suffix.lower() == ".parquet"
    scanned = scan_parquet(path, columns) if is_parquet else scan(path, handle, columns)
    if index_file.identity(handle) != before:
        raise DataError(f"{path} changed while it was indexed; run again when it is complete")
    contents = Contents(before, scanned.num_rows, scanned.kinds, scanned.texts, scanned.arrays)
    index_file.write(place, contents)
    say(f"indexed {path}: {counted(scanned.num_rows, 'row')}, {', '.join(columns) or 'no columns'}, in {place}")
    return index_file.read(place) or contents
