"""What is known of how hard each example of a data set is, found again for any data set with rows.

Labels are found by id, where the data set names its rows by `id`; a data set without ids takes them row by row, if it
has as many. Beside label files, the source's JSON (keyed by row number) and plain numbers are read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, nearest
from ..runtime.files import read_json
from ..runtime.progress import say
from .labels import Floats, Labels, align, align_layers, read_labels

SCORES = ("difficulty_scores", "scores")
LAYERS = ("layers", "layer_diffs", "layer_differences")


@dataclass(frozen=True, eq=False)
class Difficulties:
    """Scores of a data set, and the difference at each layer where two models were compared."""

    labels: Labels
    by_row: bool = False
    """The labels name no ids: entry i is about row i."""

    def __len__(self) -> int:
        return len(self.labels)

    def of(self, dataset: Any, column: str) -> Floats:
        """The score of each row."""
        ids = None if self.by_row else _ids_of(dataset)
        if ids is not None:
            return align(self.labels, ids, column)
        if column not in self.labels.columns:
            raise DataError(f"{self.labels.path} has no score `{column}`; {nearest(column, self.labels.columns)}")
        return self._rows(dataset, self.labels.columns[column], f"`{column}`")

    def layers_of(self, dataset: Any) -> Floats:
        ids = None if self.by_row else _ids_of(dataset)
        if ids is not None or self.labels.layers is None:
            return align_layers(self.labels, self.labels.ids if ids is None else ids)
        return self._rows(dataset, self.labels.layers, "the difference at a layer")

    def _rows(self, dataset: Any, values: Floats, what: str) -> Floats:
        if len(dataset) != len(self):
            raise DataError(
                f"{self.labels.path} holds {len(self):,} labels and the data set {len(dataset):,} rows without an "
                "`id`; give its rows the ids of the labels, or labels for exactly these rows"
            )
        good = np.asarray(np.isfinite(values.reshape(len(values), -1)).all(1))
        if not good.all():
            raise DataError(
                f"{self.labels.path}: {what} is no finite number for {int((~good).sum()):,} of {len(good):,} rows, "
                f"first row {int(np.argmin(good))}; score the data again"
            )
        if not self.by_row:
            say("the data set's rows have no `id`: labels are taken row by row, in the order of the label file")
        return values


def load_difficulties(path: str | Path) -> Difficulties:
    """Read a label file, or JSON: ours by id, or the source's by row number."""
    if Path(path).suffix != ".json":
        return Difficulties(read_labels(path))
    if not Path(path).is_file():
        raise DataError(f"there is no label file {path}; `curricle score` makes one")
    read = read_json(path)
    return as_difficulties(read.get("difficulties", read) if isinstance(read, dict) else read, str(path))


def as_difficulties(given: Any, path: str = "the difficulties") -> Difficulties:
    """Labels, a sequence of numbers or of scores by name, or such things by id or row number."""
    if isinstance(given, Difficulties):
        return given
    if isinstance(given, Labels):
        return Difficulties(given)
    keys: list[str] | None = None
    if isinstance(given, Mapping):
        entries = {str(key): value for key, value in given.items()}
        keys = list(entries)
        if all(key.isdecimal() and len(key) < 16 for key in keys):
            keys = None
            wanted = [str(row) for row in range(len(entries))]
            if set(wanted) != entries.keys():
                raise DataError(f"{path} must be keyed by every row number from 0 to {len(entries) - 1}, or by ids")
            given = [entries[row] for row in wanted]
        else:
            given = list(entries.values())
    rows = [_entry(value, f"{path}, entry {place}") for place, value in enumerate(given)]
    if not rows:
        raise DataError(f"{path} holds no label at all")
    scores, layers = _columns(rows, path)
    ids = np.array(keys if keys is not None else [f"{row:016x}" for row in range(len(rows))], dtype=bytes)
    return Difficulties(Labels(ids, scores, layers, path=path), by_row=keys is None)


Entry = tuple[dict[str, float], dict[int, float]]


def _columns(rows: Sequence[Entry], path: str) -> tuple[dict[str, Floats], Floats | None]:
    names, depth = rows[0][0].keys(), sorted(rows[0][1])
    for place, (scores, layers) in enumerate(rows):
        if scores.keys() != names or sorted(layers) != depth:
            raise DataError(f"{path}, entry {place} has other scores or layers than the first; all must have the same")
    columns = {name: np.array([scores[name] for scores, _ in rows], dtype=np.float32) for name in names}
    if not depth:
        return columns, None
    return columns, np.array([[layers[layer] for layer in depth] for _, layers in rows], dtype=np.float32)


def _entry(value: Any, where: str) -> Entry:
    """A number, or scores by name; the source keeps both scores and layers in mappings of their own."""
    try:
        if not isinstance(value, Mapping):
            return {"mean": float(value)}, {}
        layers: Any = next((value[key] for key in LAYERS if key in value), {})
        if not isinstance(layers, Mapping):
            layers = dict(enumerate(layers))
        inner = next((value[key] for key in SCORES if isinstance(value.get(key), Mapping)), value)
        scores = {str(k): _number(v) for k, v in inner.items() if v is None or isinstance(v, int | float)}
        return scores, {int(layer): _number(v) for layer, v in layers.items()}
    except (TypeError, ValueError) as error:
        raise DataError(f"{where} is {value!r}; it must be a number, or numbers by name: {{mean: 0.4, ...}}") from error


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _ids_of(dataset: Any) -> Any | None:
    """What the rows are called: a table's ids, a column, or what each row says; None where they have no names."""
    if hasattr(dataset, "ids"):
        return dataset.ids
    if "id" in (getattr(dataset, "column_names", None) or ()):
        return [str(one) for one in dataset["id"]]
    first = dataset[0] if len(dataset) else None
    if isinstance(first, Mapping) and isinstance(first.get("id"), str):
        return [dataset[row]["id"] for row in range(len(dataset))]
    return None
