"""One pass over a JSON Lines file: where each row begins, and the columns asked for.

The file is cut at line ends into parts that threads parse side by side with pyarrow, which reads the asked columns
and checks the syntax of the rest. A part that is not as plain as that (a broken line, a value of another kind, spaces
before a row) is read again line by line, exactly: `read_lines` is the reference, and says what is wrong and where.
"""

from __future__ import annotations

import codecs
import mmap
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from ...errors import DataError
from ...runtime.progress import bar
from ..readers import json_name
from .columns import (
    KIND_WORDS,
    Array,
    Growing,
    Kind,
    Piece,
    Wanted,
    arrow_type,
    find,
    join,
    kind_of,
    known_columns,
    no_such_column,
    piece,
)

_PART = 8 << 20
_SEARCH = 1 << 16
_SAMPLE_ROWS, _SAMPLE_BYTES = 200, 1 << 20
_MOST_THREADS = 8  # each holds a part and what it parses to
_LONGEST_BLOCK = (1 << 31) - 2  # of pyarrow
_LINE_FEED, _RETURN, _OPEN, _CLOSE = b"\n\r{}"

Kinds = dict[str, Kind]


class Widened(Exception):
    """A column holds values of a kind that the kinds so far do not allow for; the scan begins again with these."""

    def __init__(self, kinds: Kinds) -> None:
        super().__init__(kinds)
        self.kinds = kinds


@dataclass
class Part:
    """What was found between two line ends of the file."""

    begin: int
    starts: npt.NDArray[Any]
    """Where each row begins, from `begin`."""
    blanks: npt.NDArray[np.int64]
    """For each blank line, how many rows of this part come before it."""
    columns: dict[str, Piece]


@dataclass(frozen=True)
class Scanned:
    """A whole file, as the index keeps it."""

    num_rows: int
    kinds: Kinds
    texts: dict[str, list[str]]
    arrays: dict[str, Array]


class JsonLines:
    """An open file, and the line and the error of a place in it."""

    def __init__(self, path: Path, handle: int) -> None:
        self.path, self.handle = path, handle
        self.size = os.fstat(handle).st_size
        head = os.pread(handle, 3, 0)
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise DataError(f"{path} is UTF-16; save it as UTF-8")
        self.begin = len(codecs.BOM_UTF8) if head == codecs.BOM_UTF8 else 0

    def read(self, begin: int, end: int) -> bytes:
        """Bytes of the file; one call to the system gives 2 GiB at most."""
        data = bytearray(end - begin)
        self.read_into(memoryview(data), begin)
        return bytes(data)

    def read_into(self, room: memoryview, begin: int) -> None:
        """Fill `room` from a place on."""
        done = 0
        while done < len(room):
            count = os.preadv(self.handle, [room[done:]], begin + done)
            if not count:
                raise DataError(f"{self.path} became shorter while it was read; run again when it is complete")
            done += count

    def line_of(self, place: int) -> int:
        """The number of the line that a place lies in, counted: for errors only."""
        steps = range(0, place, _PART)
        return 1 + sum(self.read(at, min(at + _PART, place)).count(b"\n") for at in steps)

    def line_after(self, place: int) -> int:
        """Where the first line begins that begins at `place` or later."""
        at = place - 1
        while at < self.size:
            found = os.pread(self.handle, _SEARCH, at).find(b"\n")
            if found >= 0:
                return at + found + 1
            at += _SEARCH
        return self.size

    def parts(self, step: int) -> list[tuple[int, int]]:
        """The file cut at line ends, about every so many bytes."""
        parts, begin = [], self.begin
        while begin < self.size:
            end = self.line_after(begin + step)
            parts.append((begin, end))
            begin = end
        return parts

    def error(self, place: int, problem: str) -> DataError:
        return DataError(f"{self.path}:{self.line_of(place)}: {problem}")


def scan(path: Path, handle: int, names: Sequence[str], part_bytes: int = _PART) -> Scanned:
    """The rows of a file and the columns asked for."""
    file = JsonLines(path, handle)
    known, wanted, kinds = _sample(file, names)
    while True:
        try:
            scanned = _together(file, _parts(file, wanted, kinds, part_bytes), kinds)
        except Widened as widened:
            kinds = widened.kinds
        else:
            break
    if not scanned.num_rows:
        raise DataError(f"{path} holds no row, only blank lines")
    for column in wanted:
        if kinds[column.name] == "unknown":
            raise no_such_column(str(path), column.name, known)
    return scanned


def _sample(file: JsonLines, names: Sequence[str]) -> tuple[list[str], tuple[Wanted, ...], Kinds]:
    """What the first rows tell: the columns there are, and kinds to begin with. Settles nothing for good."""
    end = min(file.line_after(file.begin + _SAMPLE_BYTES), file.size)
    rows = []
    for place, _, row in _rows(file, file.begin, file.read(file.begin, end)):
        rows.append((place, row))
        if len(rows) == _SAMPLE_ROWS:
            break
    known = known_columns(row for _, row in rows)
    wanted = find(names, known, str(file.path))
    kinds: Kinds = {column.name: "unknown" for column in wanted}
    for place, row in rows:
        for column in wanted:
            kinds[column.name] = _checked(file, place, column.name, column.of(row), kinds[column.name])
    return known, wanted, kinds


def _parts(file: JsonLines, wanted: Sequence[Wanted], kinds: Kinds, part_bytes: int) -> Iterator[Part]:
    """The parts in the order of the file, so that of several errors the first line's is the one that is said."""
    parse = _parser(wanted, kinds)
    desks = threading.local()

    def one(bounds: tuple[int, int]) -> Part:
        if not hasattr(desks, "own"):
            desks.own = Desk(part_bytes + _SEARCH)
        part = parse(bounds[0], desks.own.read(file, *bounds), desks.own.mask)
        return part or read_lines(file, bounds[0], file.read(*bounds), wanted, kinds)

    parts = file.parts(part_bytes)
    threads = min(len(os.sched_getaffinity(0)), _MOST_THREADS)
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[Part]] = deque()
    try:
        with bar(f"indexing {file.path.name}", len(parts)) as move:
            for bounds in [*parts, *[None] * 2 * threads]:  # twice as many at work as there are threads, and no more
                if bounds is not None:
                    waiting.append(pool.submit(one, bounds))
                if waiting and (bounds is None or len(waiting) > 2 * threads):
                    yield waiting.popleft().result()
                    if move is not None:
                        move(advance=1)
    finally:
        pool.shutdown(cancel_futures=True)


def _together(file: JsonLines, parts: Iterable[Part], kinds: Kinds) -> Scanned:
    columns = {name: Growing(name, kind) for name, kind in kinds.items()}
    found: list[tuple[int, npt.NDArray[Any]]] = []
    blanks = [np.empty(0, dtype=np.int64)]
    num_rows = 0
    for part in parts:
        found.append((part.begin, part.starts))
        blanks.append(part.blanks + num_rows)
        num_rows += len(part.starts)
        for name, values in part.columns.items():
            columns[name].add(values)
    offsets = np.full(num_rows + 1, file.size, dtype=np.int64)
    at = 0
    for begin, starts in found:
        np.add(starts, np.int64(begin), out=offsets[at : at + len(starts)])
        at += len(starts)
    whole = {name: column.whole() for name, column in columns.items()}
    arrays = {":offsets": offsets, ":blanks": np.concatenate(blanks), **{n: c.values for n, c in whole.items()}}
    return Scanned(num_rows, kinds, {n: c.texts for n, c in whole.items() if kinds[n] == "text"}, arrays)


# --- the fast way -----------------------------------------------------------------------------------


class Desk:
    """Where a thread lays one part after another. A heap that lends and takes back such large pieces never shrinks."""

    def __init__(self, size: int) -> None:
        self._clear(size)

    def _clear(self, size: int) -> None:
        self._bytes = mmap.mmap(-1, size)
        self.mask = np.frombuffer(mmap.mmap(-1, size), dtype=np.bool_)

    def read(self, file: JsonLines, begin: int, end: int) -> memoryview:
        """A part of the file; it stays until the next is read."""
        if end - begin > len(self._bytes):
            self._clear(end - begin)
        room = memoryview(self._bytes)[: end - begin]
        file.read_into(room, begin)
        return room.toreadonly()


def _parser(wanted: Sequence[Wanted], kinds: Kinds) -> Callable[[int, memoryview, Array], Part | None]:
    """A function that parses the part that begins at a place; None from it: this part needs a closer look. The mask is
    room for as many truth values as there are bytes."""
    import pyarrow as pa
    import pyarrow.json as pj

    options = pj.ParseOptions(
        explicit_schema=_schema(wanted, kinds), newlines_in_values=False, unexpected_field_behavior="ignore"
    )

    def parse(begin: int, data: memoryview, mask: Array) -> Part | None:
        lines = _plain_lines(data, mask)
        if lines is None or len(data) > _LONGEST_BLOCK or not _is_utf8(data):
            return None
        starts, blanks = lines
        reading = pj.ReadOptions(use_threads=False, block_size=len(data) + 1)
        try:
            table = pj.read_json(pa.BufferReader(pa.py_buffer(data)), reading, options) if len(starts) else None
        except pa.ArrowException:
            return None
        if table is None or table.num_rows != len(starts):
            return None
        columns = {
            column.name: piece(_values(table, column), kinds[column.name], column.is_problem) for column in wanted
        }
        del table
        pa.default_memory_pool().release_unused()  # it would keep some 20 MB for each thread
        return Part(begin, starts, blanks, columns)

    return parse


def _values(table: Any, column: Wanted) -> Any:
    """A column of a table, or what lies inside its objects."""
    import pyarrow.compute as pc

    values = table.column(column.path[0]).combine_chunks()
    return pc.struct_field(values, list(column.path[1:])) if len(column.path) > 1 else values


def _schema(wanted: Sequence[Wanted], kinds: Kinds) -> Any:
    """The columns asked for, those inside objects within structs."""
    import pyarrow as pa

    tree: dict[str, Any] = {}
    for column in wanted:
        at = tree
        for key in column.path[:-1]:
            at = at.setdefault(key, {})
        at.setdefault(column.path[-1], arrow_type(kinds[column.name]))

    def fields(of: dict[str, Any]) -> list[Any]:
        return [pa.field(k, pa.struct(fields(v)) if isinstance(v, dict) else v) for k, v in of.items()]

    return pa.schema(fields(tree))


def _is_utf8(data: bytes | memoryview) -> bool:
    if len(data) and np.frombuffer(data, dtype=np.uint8).max() < 0x80:
        return True
    try:
        codecs.decode(data, "utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _plain_lines(data: memoryview, mask: Array) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]] | None:
    """Where rows begin and where blank lines are, when every line that is not blank is `{...}`.

    As no JSON object is cut by a line feed in such a way that its first lines end in `}` and its next begin with `{`, a
    parser that finds as many objects as there are lines has found one on each.
    """
    bytes_t = np.frombuffer(data, dtype=np.uint8)
    ends = np.flatnonzero(np.equal(bytes_t, _LINE_FEED, out=mask[: len(data)]))
    if bytes_t[-1] != _LINE_FEED:
        ends = np.append(ends, len(data))
    starts = np.concatenate([[0], ends[:-1] + 1])
    last = bytes_t[np.maximum(ends - 1, 0)]
    returns = np.flatnonzero(last == _RETURN)
    last[returns] = bytes_t[np.maximum(ends[returns] - 2, 0)]
    is_row = (bytes_t[np.minimum(starts, len(data) - 1)] == _OPEN) & (last == _CLOSE)
    for line in np.flatnonzero(~is_row):
        if bytes(data[starts[line] : ends[line]]).strip():
            return None
    return _compact(starts[is_row], len(data)), np.cumsum(is_row)[~is_row]


def _compact(starts: npt.NDArray[np.int64], num_bytes: int) -> npt.NDArray[Any]:
    """Four bytes a row where they do, as all rows are held until the last is found."""
    return starts.astype(np.uint32) if num_bytes < 1 << 32 else starts


# --- the exact way ----------------------------------------------------------------------------------


def read_lines(file: JsonLines, begin: int, data: bytes, wanted: Sequence[Wanted], kinds: Kinds) -> Part:
    """The same, line by line. Raises `Widened` for a value that a wider kind of its column would hold."""
    import pyarrow as pa

    starts: list[int] = []
    blanks: list[int] = []
    values: dict[str, list[Any]] = {column.name: [] for column in wanted}
    wider = dict(kinds)
    for place, is_blank, row in _rows(file, begin, data, blank_too=True):
        if is_blank:
            blanks.append(len(starts))
            continue
        starts.append(place - begin)
        for column in wanted:
            value = column.of(row)
            wider[column.name] = _checked(file, place, column.name, value, wider[column.name])
            values[column.name].append(value)
    if wider != kinds:
        raise Widened(wider)
    for name in (name for name, kind in kinds.items() if kind == "float"):
        values[name] = [None if value is None else float(value) for value in values[name]]
    columns = {name: piece(pa.array(held, arrow_type(kinds[name])), kinds[name]) for name, held in values.items()}
    return Part(begin, np.array(starts, dtype=np.int64), np.array(blanks, dtype=np.int64), columns)


def _checked(file: JsonLines, place: int, name: str, value: Any, so_far: Kind) -> Kind:
    found = kind_of(value)
    if found is None:
        parts = f"; name a part of it, such as {name}.{next(iter(value))}" if isinstance(value, dict) and value else ""
        raise file.error(
            place, f"`{name}` is {json_name(value)}; a column holds text, numbers or true and false{parts}"
        )
    if found == "int" and value >= 1 << 63:
        found = "float"  # as the fast way reads it; larger ones are read as floats anyhow
    joined = join(so_far, found)
    if joined is None:
        shown, others = orjson.dumps(value).decode()[:40], KIND_WORDS[so_far]
        raise file.error(place, f"`{name}` is {json_name(value)} ({shown}), where other rows have {others}")
    return joined


def _rows(
    file: JsonLines, begin: int, data: bytes, blank_too: bool = False
) -> Iterator[tuple[int, bool, dict[str, Any]]]:
    """Of each line: where it begins, whether it is blank, and its row."""
    at = 0
    while at < len(data):
        found = data.find(b"\n", at)
        end = found if found >= 0 else len(data)
        line = data[at:end]
        if line.strip():
            yield begin + at, False, _row(file, begin + at, line, is_last=found < 0)
        elif blank_too:
            yield begin + at, True, {}
        at = end + 1


def _row(file: JsonLines, place: int, line: bytes, is_last: bool) -> dict[str, Any]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise file.error(place, _what_is_wrong(line, error, is_last)) from error
    if not isinstance(row, dict):
        raise file.error(place, f"not an object: found {json_name(row)}, expected {{...}}")
    return row


def _what_is_wrong(line: bytes, error: orjson.JSONDecodeError, is_last: bool) -> str:
    begins = repr(line[:40].decode("utf-8", "replace") + ("..." if len(line) > 40 else ""))
    if b"\0" in line:
        return f"not JSON: the line holds NUL bytes, as a file that a crash cut off; it begins {begins}"
    if not _is_utf8(line):
        return f"not UTF-8 text; the line begins {begins}; save the file as UTF-8"
    if is_last and not line.rstrip().endswith(b"}"):
        return f"the last line is cut off ({error.msg}); it begins {begins}; remove it or fetch the file again"
    return f"not JSON: {error.msg} at column {error.colno}; the line begins {begins}"
