"""Labels as JSON, the source's shape: one entry an example, by its id, for people and other tools to read and write.

    {"about": {...},
     "difficulties": {"0f3c9a51e2b87d46": {"mean": 0.41, "length": 96.0, "layers": {"1": 0.3, "2": 0.5, "3": 0.4}}}}

The source keys its labels by row number, which names another example as soon as a row is added; here it is the id.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..runtime.files import read_json, write_json
from .labels import Labels, write_labels


def export_json(labels: Labels, path: str | Path) -> None:
    entries: dict[str, Any] = {}
    for place, name in enumerate(labels.ids):
        entry: dict[str, Any] = {column: float(values[place]) for column, values in labels.columns.items()}
        if labels.layers is not None:
            entry["layers"] = {str(layer): float(value) for layer, value in enumerate(labels.layers[place], start=1)}
        entries[name.decode()] = entry
    write_json(path, {"about": labels.about, "difficulties": entries})


def import_json(source: str | Path, target: str | Path) -> None:
    """Make a label file of a JSON file; every entry has the same scores, and the same layers if any."""
    read = read_json(source)
    entries = read.get("difficulties") if isinstance(read, dict) else None
    if not isinstance(entries, dict) or not entries or not all(isinstance(entry, dict) for entry in entries.values()):
        raise DataError(f"{source} has no labels: it must hold {{difficulties: {{<id>: {{mean: 0.4, ...}}}}}}")
    first = next(iter(entries.values()))
    for name, entry in entries.items():
        if entry.keys() != first.keys() or entry.get("layers", {}).keys() != first.get("layers", {}).keys():
            raise DataError(
                f"{source}: `{name}` has other scores or layers than the first entry; all must have the same"
            )
    columns = {
        name: np.array([_number(entry[name]) for entry in entries.values()], dtype=np.float32)
        for name in first
        if name != "layers"
    }
    depth = sorted(first.get("layers", {}), key=int)
    layers = [[_number(entry["layers"][layer]) for layer in depth] for entry in entries.values()] if depth else None
    write_labels(target, list(entries), columns, layers, read.get("about"))


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
