"""Rows of a file, one at a time and with the place each came from, in constant memory.

JSONL, JSON, CSV and TSV, each also gzipped, and Parquet. A row that is broken but leaves the rest of the file readable
is handed on as a `BadRow`, so that the caller may stop or skip; a file that cannot be read on raises `DataError`.
"""

from __future__ import annotations

import codecs
import csv
import glob
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from ..errors import DataError

_CHUNK = 1 << 16
_SPACE = re.compile(r"[ \t\r\n]*")
_LONGEST_CELL = 1 << 27  # Python's own limit is 128 KiB, which one long document passes


class BadRow(DataError):
    """A row that cannot be used; `kind` is the reason in the words used for counting."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Row:
    """A row and its line (JSONL, CSV, TSV: where it starts) or number (JSON, Parquet), from 1."""

    line: int
    value: dict[str, Any] | BadRow


def read_rows(path: str | Path) -> Iterator[Row]:
    """The rows of one file. What is wrong with the file itself is said at once, before the first row is asked for."""
    path = Path(path)
    reader = _reader_of(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder; name a file in it ({_ALLOWED})")
    if not path.exists():
        place = "" if path.is_absolute() else f"; the path is relative to {Path.cwd()}"
        raise DataError(f"no such data file: {path}{_neighbours(path)}{place}")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty; it should hold at least one row")
    return _guarded(path, reader)


def _guarded(path: Path, reader: Callable[[Path], Iterator[Row]]) -> Iterator[Row]:
    try:
        yield from reader(path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: broken or cut-short gzip data ({error}); fetch or compress the file again") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def _neighbours(path: Path) -> str:
    """A hint when the file is there under another ending, as after gzip or prepare."""
    stem = path.name.split(".")[0]
    close = sorted(p.name for p in path.parent.glob(f"{glob.escape(stem)}.*"))[:5] if stem else []
    return f"; in that folder: {', '.join(close)}" if close else ""


def _open(path: Path) -> gzip.GzipFile | io.BufferedReader:
    return gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb")


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines without their end, split on line feeds alone: text may hold other separators."""
    with _open(path) as handle:
        for number, line in enumerate(handle, start=1):
            if number == 1:
                if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    raise DataError(f"{path} is UTF-16; save it as UTF-8")
                line = line.removeprefix(codecs.BOM_UTF8)
            yield number, line


def _jsonl(path: Path) -> Iterator[Row]:
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            why = _no_number(line) or f"{error.msg} at column {error.colno}"
            yield Row(number, BadRow("not JSON", f"{why}; the line begins {_begin(line)}"))
            continue
        yield Row(number, _as_row(value))


def _as_row(value: Any) -> dict[str, Any] | BadRow:
    return value if isinstance(value, dict) else BadRow("not an object", f"found {json_name(value)}, expected {{...}}")


def _no_number(line: bytes) -> str | None:
    """What Python and pandas write for a number that is none, and JSON does not know."""
    found: list[str] = []
    try:
        json.loads(line, parse_constant=found.append)
    except (ValueError, RecursionError):
        return None
    return f"{found[0]} is no JSON value: write null, or leave the field out" if found else None


def _begin(line: bytes) -> str:
    text = line[:60].decode("utf-8", "replace").rstrip("\n")
    return repr(text[:40] + ("..." if len(line) > 40 else ""))


def json_name(value: Any) -> str:
    """What a JSON value is, in a person's words."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)


# --- CSV and TSV ----------------------------------------------------------------------------------


def _csv(path: Path, delimiter: str) -> Iterator[Row]:
    """Decoding line by line, here, gives exact places: the csv module sees text that is already cut on line feeds."""
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_CELL))
    undecodable: list[int] = []

    def decoded() -> Iterator[str]:
        for number, line in _lines(path):
            try:
                yield line.decode("utf-8")
            except UnicodeDecodeError:
                undecodable.append(number)
                yield line.decode("utf-8", "replace")

    reader = csv.reader(decoded(), delimiter=delimiter, strict=True)
    header = _header(path, reader, undecodable)
    start = reader.line_num + 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Row(start, BadRow("not CSV", f"{error}; is a quote opened on line {start} and never closed?"))
        else:
            if undecodable:
                yield Row(start, BadRow("not UTF-8", f"line {undecodable[0]} holds bytes that are no UTF-8 text"))
            elif cells:
                yield Row(start, _csv_row(header, cells))
        undecodable.clear()
        start = reader.line_num + 1


def _header(path: Path, reader: Any, undecodable: list[int]) -> list[str]:
    try:
        header = [name.strip() for name in next(reader)]
    except (StopIteration, csv.Error) as error:
        raise DataError(f"{path}:1: no header line with the column names ({error})") from error
    if undecodable:
        raise DataError(f"{path}:{undecodable[0]}: the header is not UTF-8; save the file as UTF-8")
    if not any(header) or len(set(header)) != len(header):
        raise DataError(f"{path}:1: the header must name each column once; found {header}")
    return header


def _csv_row(header: list[str], cells: list[str]) -> dict[str, Any] | BadRow:
    if len(cells) != len(header):
        return BadRow("wrong number of columns", f"found {len(cells)}, the header names {len(header)}")
    return dict(zip(header, cells, strict=True))


# --- JSON -----------------------------------------------------------------------------------------


class _Scanner:
    """JSON values taken one by one from a file of any size; holds one value and a chunk."""

    def __init__(self, path: Path, handle: gzip.GzipFile | io.BufferedReader) -> None:
        self.path, self._handle = path, handle
        self._to_text = codecs.getincrementaldecoder("utf-8-sig")()
        self._decoder = json.JSONDecoder(parse_constant=self._refuse_constant)
        self._buffer, self._at, self._lines_before, self._ended = "", 0, 0, False

    def _refuse_constant(self, name: str) -> None:
        raise self.broken(f"{name} is no JSON value")

    def broken(self, found: str, position: int | None = None) -> DataError:
        position = self._at if position is None else position
        line = self._lines_before + self._buffer.count("\n", 0, position) + 1
        return DataError(f"{self.path}:{line}: not JSON: {found}")

    def _more(self) -> None:
        """Drop what was used, read as much again as is left: a long value is scanned a few times only."""
        chunk = self._handle.read(max(_CHUNK, len(self._buffer) - self._at))
        try:
            text = self._to_text.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            raise self.broken("the file is not UTF-8 text", len(self._buffer)) from error
        self._lines_before += self._buffer.count("\n", 0, self._at)
        self._buffer, self._at, self._ended = self._buffer[self._at :] + text, 0, not chunk

    def peek(self) -> str:
        """The next character that is not white space; empty at the end of the file."""
        while True:
            self._at = _SPACE.match(self._buffer, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._buffer) or self._ended:
                return self._buffer[self._at : self._at + 1]
            self._more()

    def take(self, allowed: str) -> str:
        found = self.peek()
        if not found or found not in allowed:
            wanted = " or ".join(f"`{c}`" for c in allowed)
            raise self.broken(f"expected {wanted}, found {f'`{found}`' if found else 'the end of the file'}")
        self._at += 1
        return found

    def value(self) -> Any:
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                # A value that the buffer cuts off fails near the buffer's end or inside a string; all else is broken.
                cut_off = error.msg.startswith("Unterminated") or error.pos >= len(self._buffer) - 16
                if self._ended or not cut_off:
                    raise self.broken(error.msg, error.pos) from error
            except RecursionError as error:
                raise self.broken("nested too deeply") from error
            else:
                if end < len(self._buffer) or self._ended:  # at the very end, 12 may be the head of 123
                    self._at = end
                    return value
            self._more()

    def elements(self) -> Iterator[Any]:
        """The rest of a list whose `[` was taken."""
        if self.peek() == "]":
            self.take("]")
            return
        while True:
            yield self.value()
            if self.take(",]") == "]":
                return


def _json(path: Path) -> Iterator[Row]:
    with _open(path) as handle:
        scan = _Scanner(path, handle)
        rows = scan.elements() if scan.take("[{") == "[" else _listed(scan)
        for number, value in enumerate(rows, start=1):
            yield Row(number, _as_row(value))
        if scan.peek():
            raise scan.broken("more text after the end; is it JSON Lines? Then name it .jsonl")


def _listed(scan: _Scanner) -> Iterator[Any]:
    """The rows of `{"version": 1, "data": [{...}, ...]}`, whose `{` was taken: its one list of objects."""
    keys: list[str] = []
    found = None
    while scan.peek() != "}":
        key = scan.value()
        keys.append(str(key))
        scan.take(":")
        if scan.peek() != "[":
            scan.value()
        else:
            scan.take("[")
            is_rows = scan.peek() == "{"
            if is_rows and found:
                raise scan.broken(f"two lists of rows, `{found}` and `{key}`; leave one")
            found = key if is_rows else found
            for element in scan.elements():
                if is_rows:
                    yield element
        if scan.take(",}") == "}":
            break
    else:
        scan.take("}")
    if found is None:
        hint = "; is it JSON Lines? Then name it .jsonl" if scan.peek() else ""
        raise DataError(
            f"{scan.path}: expected a list of rows, found an object with {', '.join(keys) or 'nothing'}{hint}"
        )


# --- Parquet --------------------------------------------------------------------------------------


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=256):
                for value in batch.to_pylist():
                    number += 1
                    yield Row(number, value)
    except pa.ArrowException as error:
        raise DataError(
            f"{path}: not a readable Parquet file after row {number}: {str(error).splitlines()[0]}"
        ) from error


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": partial(_csv, delimiter=","),
    ".tsv": partial(_csv, delimiter="\t"),
    ".parquet": _parquet,
}
_ALLOWED = "allowed: .jsonl, .json, .csv, .tsv, each also .gz, and .parquet"


def _reader_of(path: Path) -> Callable[[Path], Iterator[Row]]:
    ending = path.suffix.lower()
    if ending == ".gz":
        ending = Path(path.stem).suffix.lower()
        if ending == ".parquet":
            raise DataError(f"{path}: Parquet is compressed inside already; unpack the .gz")
    if ending not in _READERS:
        raise DataError(f"{path}: cannot tell the kind of file from `{ending or path.name}`; {_ALLOWED}")
    return _READERS[ending]
