"""Columns of the index: what kind of value each holds, and the smallest numpy array that holds it.

kind    in the file          in the index                              a row without it
bool    true, false          int8                                      -1
int     3                    the smallest of int8 ... int64            NaN (the column becomes float)
float   0.5, 3               float32; float64 for whole numbers        NaN
                             that 24 bits do not hold
text    "codeforces"         a number for each text, int8 ... int32    -1
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ...errors import DataError, nearest

Kind = Literal["unknown", "bool", "int", "float", "text"]
Array = npt.NDArray[Any]

KIND_WORDS = {"bool": "true or false", "int": "a number", "float": "a number", "text": "text"}
MOST_TEXTS = 1_000_000
"""Different texts that a column may hold: the index is for columns to filter and to group by."""
PROBLEM = "problem"
SOLUTION_ENDING = r"_(?:in)?correct_\d+$"
"""What the `task_id` of a solution adds to the name of its problem."""
_SOLUTION = re.compile(SOLUTION_ENDING)
_EXACT_IN_FLOAT32 = 1 << 24
_MERGED = 64


@dataclass(frozen=True)
class Wanted:
    """A column that was asked for, and where its value lies in a row."""

    name: str
    path: tuple[str, ...]
    is_problem: bool = False
    """The value is a task id, of which the name of the problem is kept."""

    def of(self, row: Mapping[str, Any]) -> Any:
        value: Any = row
        for key in self.path:
            value = value.get(key) if isinstance(value, dict) else None
        return _SOLUTION.sub("", value) if self.is_problem and isinstance(value, str) else value


def find(names: Iterable[str], known: Sequence[str], where: str) -> tuple[Wanted, ...]:
    """Where each column lies, given the columns that the first rows have, as `known_columns` names them.

    `a.b` reaches into an object, unless a column has the dot in its name. `problem` is the task id without
    `_correct_3` or `_incorrect_3` where rows have a `task_id` and no `problem`.
    """
    wanted = []
    for name in dict.fromkeys(names):
        if name == PROBLEM and PROBLEM not in known and "task_id" in known:
            wanted.append(Wanted(name, ("task_id",), is_problem=True))
        else:
            wanted.append(Wanted(name, tuple(name.split(".")) if f"{name} " not in known else (name,)))
    if any(not all(column.path) for column in wanted):
        raise DataError(f"{where}: a column needs a name; found {[column.name for column in wanted]}")
    return tuple(wanted)


def known_columns(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The columns of some rows, those inside objects with a dot; one whose own name has a dot is marked by a space."""
    found: dict[str, None] = {}
    for row in rows:
        for key, value in row.items():
            found[f"{key} " if "." in key else key] = None
            if isinstance(value, dict):
                found.update((f"{key}.{inner}", None) for inner in value)
    return list(found)


def no_such_column(where: str, name: str, known: Sequence[str]) -> DataError:
    inside = [column for column in known if column.endswith(f".{name}")]
    hint = f"did you mean `{inside[0]}`?" if inside else nearest(name, [column.strip() for column in known])
    return DataError(f"{where}: no row has the column `{name}`; {hint}")


def kind_of(value: Any) -> Kind | None:
    """The kind of a value read from JSON; None for one that a column cannot hold."""
    if value is None:
        return "unknown"
    kinds: dict[type, Kind] = {bool: "bool", int: "int", float: "float", str: "text"}
    return kinds.get(type(value))


def join(one: Kind, other: Kind) -> Kind | None:
    """The kind that holds values of both; None when there is none."""
    if one == other or other == "unknown":
        return one
    if one == "unknown":
        return other
    return "float" if {one, other} == {"int", "float"} else None


@dataclass
class Piece:
    """One column of some rows. `texts` are those that the codes of a text column stand for."""

    values: Array
    texts: list[str] = field(default_factory=list)


def arrow_type(kind: Kind) -> Any:
    import pyarrow as pa

    types = {"unknown": pa.null(), "bool": pa.bool_(), "int": pa.int64(), "float": pa.float64(), "text": pa.string()}
    return types[kind]


def piece(values: Any, kind: Kind, is_problem: bool = False) -> Piece:
    """An arrow array of one kind as a piece of a column."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind == "bool":
        return Piece(pc.fill_null(values.cast(pa.int8()), -1).to_numpy())
    if kind == "float" or (kind == "int" and values.null_count):
        return Piece(pc.fill_null(values.cast(pa.float64(), safe=False), float("nan")).to_numpy())
    if kind == "int":
        return Piece(smallest(values.to_numpy()))
    if kind == "text":
        if is_problem:
            values = pc.replace_substring_regex(values, SOLUTION_ENDING, "")
        coded = values.dictionary_encode()
        codes = pc.fill_null(coded.indices, -1).to_numpy()
        return Piece(codes, coded.dictionary.to_pylist())
    return Piece(np.full(len(values), np.nan, dtype=np.float32))


def smallest(values: Array) -> Array:
    """Whole numbers in the smallest signed type that holds them."""
    if not len(values):
        return values.astype(np.int8)
    low, high = int(values.min()), int(values.max())
    for size in (np.int8, np.int16, np.int32):
        if np.iinfo(size).min <= low and high <= np.iinfo(size).max:
            return values.astype(size)
    return values.astype(np.int64)


class Growing:
    """A column that pieces are added to, in the order of the file; texts are numbered as they appear in it."""

    def __init__(self, name: str, kind: Kind) -> None:
        self.name, self.kind = name, kind
        self._pieces: list[Array] = []
        self._numbers: dict[str, int] = {}

    def add(self, part: Piece) -> None:
        values = part.values
        if self.kind == "text":
            numbers = self._numbers
            codes = [numbers.setdefault(text, len(numbers)) for text in part.texts]
            if len(numbers) > MOST_TEXTS:
                raise DataError(
                    f"column `{self.name}` holds more than {MOST_TEXTS:,} different texts; the index keeps columns to "
                    "filter and group by. Leave it out" + (f", or ask for `{PROBLEM}`" * (self.name == "task_id"))
                )
            values = smallest(np.array([*codes, -1], dtype=np.int32))[values]  # -1 is the last of the codes
        self._pieces.append(values)
        if len(self._pieces) == _MERGED:
            self._pieces = [np.concatenate(self._pieces)]  # many small arrays would keep the heap from shrinking

    def whole(self) -> Piece:
        values = np.concatenate(self._pieces) if self._pieces else np.empty(0, dtype=np.int8)
        self._pieces = []
        return Piece(values if values.dtype.kind == "i" else values.astype(_float_type(values)), list(self._numbers))


def _float_type(values: Array) -> type[np.floating[Any]]:
    """Scores may be rounded to 24 bits; counts and other whole numbers may not."""
    held = values[~np.isnan(values)]
    rounded = len(held) and np.abs(held).max() > _EXACT_IN_FLOAT32 and (held == np.floor(held)).all()
    return np.float64 if rounded else np.float32
