"""Parquet: the columns asked for, and rows by number. The format is columnar already; the index keeps copies of the
asked columns only because they are then the same small arrays, mapped, as those of JSON Lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import DataError
from ...runtime.progress import track
from .columns import Growing, Kind, Wanted, find, no_such_column, piece
from .scan import Scanned

_BATCH = 1024


def opened(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except pa.ArrowException as error:
        raise DataError(f"{path}: not a readable Parquet file: {str(error).splitlines()[0]}") from error


def scan_parquet(path: Path, names: Sequence[str]) -> Scanned:
    """The columns asked for, a row group at a time."""
    with opened(path) as file:
        if not file.metadata.num_rows:
            raise DataError(f"{path} holds no row")
        known = _known(file.schema_arrow)
        wanted = find(names, known, str(path))
        kinds = {column.name: _kind(path, column, file.schema_arrow, known) for column in wanted}
        growing = {name: Growing(name, kind) for name, kind in kinds.items()}
        groups = range(file.num_row_groups if wanted else 0)
        for group in track(groups, f"indexing {path.name}", len(groups)):
            table = file.read_row_group(group, columns=[".".join(column.path) for column in wanted])
            for column in wanted:
                values = _reach(table.column(column.path[0]).combine_chunks(), column.path[1:], kinds[column.name])
                growing[column.name].add(piece(values, kinds[column.name], column.is_problem))
        columns = {name: column.whole() for name, column in growing.items()}
        texts = {name: column.texts for name, column in columns.items() if kinds[name] == "text"}
        return Scanned(file.metadata.num_rows, kinds, texts, {name: column.values for name, column in columns.items()})


def _reach(values: Any, keys: Sequence[str], kind: Kind) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    values = pc.struct_field(values, list(keys)) if keys else values
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    return values.cast(pa.int64()) if kind == "int" else values


def _known(schema: Any) -> list[str]:
    import pyarrow as pa

    names = []
    for field in schema:
        names.append(f"{field.name} " if "." in field.name else field.name)
        if pa.types.is_struct(field.type):
            names += [f"{field.name}.{inner.name}" for inner in field.type]
    return names


def _kind(path: Path, column: Wanted, schema: Any, known: Sequence[str]) -> Kind:
    import pyarrow as pa

    at: Any = schema
    for key in column.path:
        is_there = isinstance(at, pa.Schema) or pa.types.is_struct(at)
        place = at.get_field_index(key) if is_there else -1
        if place < 0:
            raise no_such_column(str(path), column.name, known)
        at = at.field(place).type
    value = at.value_type if pa.types.is_dictionary(at) else at
    tests: dict[Kind, Any] = {
        "bool": pa.types.is_boolean,
        "int": pa.types.is_integer,
        "float": pa.types.is_floating,
        "text": lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
    }
    for kind, holds in tests.items():
        if holds(value):
            return kind
    raise DataError(f"{path}: column `{column.name}` is {at}; an index keeps text, numbers, and true and false")


class ParquetRows:
    """Rows by their numbers; a batch of rows is in memory at a time."""

    def __init__(self, path: Path) -> None:
        self.path, self._file = path, opened(path)
        groups = (self._file.metadata.row_group(group).num_rows for group in range(self._file.num_row_groups))
        self._first = np.cumsum([0, *groups])

    def close(self) -> None:
        self._file.close()

    def sorted_rows(self, rows_n: npt.NDArray[np.int64]) -> Iterator[dict[str, Any]]:
        """Rows whose numbers ascend."""
        import pyarrow as pa

        edges = np.searchsorted(rows_n, self._first)
        try:
            for group, (begin, end) in enumerate(pairwise(edges)):
                if begin < end:
                    yield from self._of_group(group, rows_n[begin:end] - self._first[group])
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"cannot read {self.path}: {str(error).splitlines()[0]}") from error

    def _of_group(self, group: int, rows_n: npt.NDArray[np.int64]) -> Iterator[dict[str, Any]]:
        start = taken = 0
        for batch in self._file.iter_batches(batch_size=_BATCH, row_groups=[group]):
            upto = int(np.searchsorted(rows_n, start + len(batch)))
            if taken < upto:
                yield from batch.take(rows_n[taken:upto] - start).to_pylist()
            start, taken = start + len(batch), upto
            if taken == len(rows_n):
                return
