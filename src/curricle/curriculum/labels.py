"""The label file: what is known about each example before training, above all how hard it is.

Parquet, one row an example: `id` (16 hex digits, as the reader of the data names an example), one float32 column for
each score, and, where two models were compared layer by layer, `layers`: the difference at each layer. Under the key
`curricle` the file says what made it: models, settings, fingerprint, data and cost.

    id                 mean   length   layers
    0f3c9a51e2b87d46   0.41     96.0   [0.3, 0.5, 0.4]
    a7d2...            1.20    210.0   [1.0, 1.1, 1.5]

A label belongs to a row of the data. Raw text cut into windows and dialogues split into turns are several examples of
one row, called `<id>-0`, `<id>-1` and so on; each takes its row's label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import DataError, nearest
from ..runtime.files import atomic_file

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 1
_KEY = b"curricle"
ID_DIGITS = 16
_CHUNK = 1 << 20

Floats = npt.NDArray[np.float32]
RawIds = npt.NDArray[np.bytes_]
AnyIds = Sequence[str] | RawIds
_Keys = npt.NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Labels:
    """A label file, read."""

    ids: RawIds
    """16 hex digits each, as bytes."""
    columns: dict[str, Floats]
    layers: Floats | None = None
    """One row an example, one column a layer."""
    about: dict[str, Any] = field(default_factory=dict)
    """What made the labels: {version, what, models, settings, fingerprint, data, cost: {flops, seconds, columns}}."""
    path: str = "the labels"

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def flops(self) -> float:
        """What making them cost; 0 where the file does not say."""
        return float((self.about.get("cost") or {}).get("flops") or 0.0)


def write_labels(
    path: str | Path,
    ids: AnyIds,
    columns: Mapping[str, npt.ArrayLike],
    layers: npt.ArrayLike | None = None,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write a label file, whole or not at all."""
    import orjson
    import pyarrow as pa
    import pyarrow.parquet as pq

    raw = _raw(ids)
    _keys(raw)
    scores = {name: np.asarray(values, dtype=np.float32) for name, values in columns.items()}
    layers_nl = None if layers is None else np.ascontiguousarray(layers, dtype=np.float32)
    for name, values in scores.items() if layers_nl is None else (*scores.items(), ("layers", layers_nl)):
        if len(values) != len(raw):
            raise DataError(f"labels for {path}: column `{name}` has {len(values)} values for {len(raw)} ids")
    if reserved := {"id", "layers"} & scores.keys():
        raise DataError(f"labels for {path}: a score cannot be called `{min(reserved)}`; call it something else")
    table: dict[str, Any] = {"id": _as_strings(raw), **scores}
    if layers_nl is not None:
        table["layers"] = pa.FixedSizeListArray.from_arrays(pa.array(layers_nl.ravel()), layers_nl.shape[1])
    told = orjson.dumps({"version": VERSION, **(about or {})}, option=orjson.OPT_SERIALIZE_NUMPY, default=str)
    with atomic_file(path, "wb") as handle:
        pq.write_table(pa.table(table).replace_schema_metadata({_KEY: told}), handle, compression="zstd")


def read_labels(path: str | Path) -> Labels:
    """Read a label file: ours, or any Parquet file with an `id` column and columns of numbers."""
    import orjson
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not Path(path).is_file():
        raise DataError(
            f"there is no label file {path}; `curricle score` makes one, and so does a run whose recipe names a large "
            "model as `difficulty.cloud`"
        )
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise DataError(f"{path} is no Parquet file that can be read: {error}{from_json(path)}") from error
    if "id" not in table.column_names:
        found = ", ".join(table.column_names)
        raise DataError(f"{path} has no column `id`; it has {found}. A label file names each example by its id")
    about = orjson.loads((table.schema.metadata or {}).get(_KEY, b"{}"))
    if about.get("version", VERSION) > VERSION:
        raise DataError(f"{path} was written by a newer version of Curricle; make the labels again, or upgrade")
    columns, layers = {}, None
    for name in table.column_names:
        column = table.column(name)
        kind = column.type
        if name == "layers" and pa.types.is_fixed_size_list(kind):
            flat = column.combine_chunks().flatten()
            layers = _numbers(flat).reshape(len(table), kind.list_size)
        elif name != "id" and (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
            columns[name] = _numbers(column)
    return Labels(_raw_of(table.column("id"), str(path)), columns, layers, about, str(path))


def read_about(path: str | Path) -> dict[str, Any]:
    """What made a label file, from its head alone; empty where it does not say."""
    import orjson
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return dict(orjson.loads((pq.read_schema(path).metadata or {}).get(_KEY, b"{}")))
    except pa.ArrowInvalid as error:
        raise DataError(f"{path} is no Parquet file that can be read: {error}") from error


def from_json(path: str | Path) -> str:
    """What to do with labels as JSON where a Parquet file is needed; empty for any other file."""
    if Path(path).suffix != ".json":
        return ""
    return (
        "; make one of the JSON with `curricle.curriculum.labels_json.import_json`, or score again with `curricle "
        "score ... -o labels.parquet`"
    )


def label_cost(path: str | Path, column: str | None = None) -> float:
    """The floating-point operations that making one column of a label file took; of the whole file where it does not
    say that, or no column is named; 0 where it says nothing."""
    cost = read_about(path).get("cost") or {}
    return float((cost.get("columns") or {}).get(column, cost.get("flops") or 0.0))


def align(labels: Labels, table_ids: AnyIds, column: str, *, allow_unknown: bool = False) -> Floats:
    """The score of each example of a table. With `allow_unknown` a missing label or NaN is NaN, else it is refused."""
    if column not in labels.columns:
        raise DataError(f"{labels.path} has no score `{column}`; {nearest(column, labels.columns)}")
    place, found = _places(labels, table_ids)
    values = labels.columns[column][place]
    if allow_unknown:
        values[~found] = np.nan
    else:
        _refuse_missing(labels, found, table_ids)
        _refuse_nan(labels, np.isfinite(values), table_ids, f"`{column}`")
    return values


def align_layers(labels: Labels, table_ids: AnyIds) -> Floats:
    """The difference at each layer for each example of a table."""
    if labels.layers is None:
        raise DataError(
            f"{labels.path} has no difference per layer; make it by `curricle score` with a large and a small model"
        )
    place, found = _places(labels, table_ids)
    _refuse_missing(labels, found, table_ids)
    values = labels.layers[place]
    _refuse_nan(labels, np.all(np.isfinite(values), axis=1), table_ids, "`layers`")
    return values


def _places(labels: Labels, table_ids: AnyIds) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """For each id of the table its place in the labels, and whether it is there at all."""
    wanted, known = _keys(_raw(table_ids)), _keys(labels.ids)
    if np.array_equal(wanted, known):  # the usual case: labels made from the very file
        return np.arange(len(known)), np.ones(len(known), dtype=bool)
    if not len(known):
        raise DataError(f"{labels.path} holds no label at all")
    by_key = np.argsort(known, kind="stable")
    place = by_key[np.minimum(np.searchsorted(known[by_key], wanted), len(known) - 1)]
    return place, known[place] == wanted


def _refuse_missing(labels: Labels, found: npt.NDArray[np.bool_], table_ids: AnyIds) -> None:
    num_missing = int((~found).sum())
    if not num_missing:
        return
    if num_missing == len(found):
        raise DataError(
            f"{labels.path} belongs to other data: none of the {len(found):,} examples has one of its {len(labels):,} "
            "labels; make labels of this data with `curricle score`"
        )
    raise DataError(
        f"{labels.path} lacks a label for {num_missing:,} of the {len(found):,} examples, such as "
        f"`{_name(table_ids, int(np.argmin(found)))}`; score the data again, or take those rows out"
    )


def _refuse_nan(labels: Labels, good: npt.NDArray[np.bool_], table_ids: AnyIds, what: str) -> None:
    if not good.all():
        raise DataError(
            f"{labels.path}: {what} is no finite number for {int((~good).sum()):,} of the {len(good):,} examples, such "
            f"as `{_name(table_ids, int(np.argmin(good)))}`; take another score, or score the data again"
        )


# ---- ids ------------------------------------------------------------------------------------------------------------


def _raw(ids: AnyIds) -> RawIds:
    """Fixed-width bytes; a token table's ids are that already."""
    raw = getattr(ids, "raw", ids)
    return raw if isinstance(raw, np.ndarray) and raw.dtype.kind == "S" else np.array(list(raw), dtype=bytes)


def _name(ids: AnyIds, place: int) -> str:
    return bytes(_raw(ids)[place]).decode()


def _keys(raw: RawIds) -> _Keys:
    """The 16 digits as one number; what follows a dash (window, turn) is left out."""
    keys = np.empty(len(raw), dtype=np.uint64)
    width = raw.dtype.itemsize
    for start in range(0, len(raw), _CHUNK):
        part = np.ascontiguousarray(raw[start : start + _CHUNK])
        letters = part.view(np.uint8).reshape(len(part), width)
        values = _VALUE_OF[letters[:, :ID_DIGITS]]
        named = (values < 16).all(axis=1) if width >= ID_DIGITS else np.zeros(len(part), dtype=bool)
        if width > ID_DIGITS:
            named &= np.isin(letters[:, ID_DIGITS], (0, ord("-")))
        if not named.all():
            bad = bytes(part[int(np.argmin(named))]).decode(errors="replace")
            raise DataError(
                f"`{bad}` is no id of an example: 16 hex digits, and perhaps a dash and a number, as the reader of "
                "the data gives; `curricle inspect order` shows them"
            )
        pairs = values[:, 0::2] << 4 | values[:, 1::2]
        keys[start : start + _CHUNK] = np.ascontiguousarray(pairs).view(">u8")[:, 0]
    return keys


_VALUE_OF = np.full(256, 255, dtype=np.uint8)
_VALUE_OF[np.frombuffer(b"0123456789abcdef", dtype=np.uint8)] = np.arange(16)


# ---- Arrow ----------------------------------------------------------------------------------------------------------


def _as_strings(raw: RawIds) -> Any:
    """The ids as Arrow strings without a Python object for each."""
    import pyarrow as pa

    cut = raw.astype(f"S{ID_DIGITS}")
    offsets = np.arange(len(cut) + 1, dtype=np.int64) * ID_DIGITS
    return pa.LargeStringArray.from_buffers(len(cut), pa.py_buffer(offsets), pa.py_buffer(cut.tobytes()))


def _raw_of(column: pa.ChunkedArray, path: str) -> RawIds:
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.null_count:
        raise DataError(f"{path}: {column.null_count} rows have no id")
    try:
        fixed = pc.cast(pc.cast(column, pa.large_binary()), pa.binary(ID_DIGITS))
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: column `id` holds something other than {ID_DIGITS} hex digits: {error}") from error
    parts = [np.frombuffer(c.buffers()[1], dtype=f"S{ID_DIGITS}")[c.offset :][: len(c)] for c in fixed.chunks if len(c)]
    return np.concatenate(parts) if parts else np.empty(0, dtype=f"S{ID_DIGITS}")


def _numbers(column: Any) -> Floats:
    """As float32; a missing value becomes NaN, which whoever uses the column then refuses."""
    import pyarrow as pa

    return np.array(column.cast(pa.float32()).to_numpy(), dtype=np.float32)
