"""Label files side by side: the examples that all of them have, each column under a name of its own.

The columns of several files are called `<stem>.<column>`, after their files: l2.mean, cosine.mean. What all files have
alike, as the length of the rows, is kept once and under its own name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...curriculum.difficulties import Difficulties, load_difficulties
from ...curriculum.labels import Labels
from ...errors import DataError, nearest
from ...runtime.progress import counted

Floats = npt.NDArray[np.float64]
Ids = npt.NDArray[np.bytes_]

FEWEST = 16
"""Examples below this say nothing about a correlation."""
TOKENS = "_tokens"
"""Behind the target's name: in how many tokens it was measured."""
ALIKE = 1e-3
"""What two scorings of one thing may differ by, as batches differ."""


@dataclass(frozen=True, eq=False)
class Table:
    """Suffix `_n` of arrays: examples."""

    ids: Ids
    columns: dict[str, Floats]
    layers: dict[str, Floats]
    """Name of the file -> examples x layers."""
    files: list[tuple[str, Labels]]
    notes: list[str] = field(default_factory=list)
    by_row: bool = False
    """The ids are made up: the labels were keyed by row number."""
    alone: str | None = None
    """The target, where the labels have nothing else: it is a column then, beside its tokens."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Target:
    """Real difficulty: a value for each example of the table that has one, else NaN."""

    name: str
    file: str
    values_n: Floats
    notes: list[str]


def read_table(paths: Sequence[Path], target: str) -> tuple[Table, Target | None]:
    """The label files, and the target where the labels hold it themselves."""
    read = [load_difficulties(path) for path in paths]
    by_row = any(each.by_row for each in read)
    if by_row and len(read) > 1:
        at = next(each.labels.path for each in read if each.by_row)
        raise DataError(f"{at} is keyed by row number; give label files that name examples by id, to match them")
    notes: list[str] = []
    parts = [_distinct(each, notes) for each in read]
    names = _names([each.path for each in parts])
    ids, places = _common(parts, names, notes)
    if len(ids) < FEWEST:
        raise DataError(
            f"{' and '.join(names)} have {counted(len(ids), 'example')} (in common); at least {FEWEST} are needed"
        )
    taken = [
        {name: values[place].astype(np.float64) for name, values in part.columns.items()}
        for part, place in zip(parts, places, strict=True)
    ]
    own = next((i for i, columns in enumerate(taken) if target in columns), None)
    found = None if own is None else _target(target, parts[own].path, taken[own])
    drop = {target, f"{target}{TOKENS}"}
    columns = _merged(names, [{k: v for k, v in each.items() if k not in drop} for each in taken], notes)
    alone = None
    if not columns and found is not None and len(parts) == 1:
        notes += found.notes
        columns, found, alone = {**taken[0], target: found.values_n}, None, target
    if not columns:
        raise DataError(f"{names[0]} has no score; its columns: {', '.join(parts[0].columns) or 'none'}")
    layers = {
        name: part.layers[place].astype(np.float64)
        for name, part, place in zip(names, parts, places, strict=True)
        if part.layers is not None
    }
    return Table(ids, columns, layers, list(zip(names, parts, strict=True)), notes, by_row, alone), found


def read_target(path: Path, name: str, table: Table) -> Target:
    """From a file of its own, matched by id; what either side lacks is counted."""
    notes: list[str] = []
    read = load_difficulties(path)
    if read.by_row or table.by_row:
        at = path if read.by_row else table.files[0][1].path
        raise DataError(f"{at} is keyed by row number; give label files that name examples by id, to match them")
    labels = _distinct(read, notes)
    if name not in labels.columns:
        raise DataError(f"{path} has no column `{name}`; {nearest(name, labels.columns)} (--target names it)")
    _, ours, theirs = np.intersect1d(table.ids, labels.ids, assume_unique=True, return_indices=True)
    if not len(ours):
        raise DataError(
            f"{path} belongs to other data: none of its {len(labels):,} examples is among the {len(table):,} that "
            "have labels; it must be about the same rows"
        )
    if len(ours) < FEWEST:
        raise DataError(
            f"{path} and the labels have {counted(len(ours), 'example')} in common; at least {FEWEST} are needed"
        )
    if lacking := len(table) - len(ours):
        notes.append(f"{lacking:,} of the {len(table):,} labelled examples have no `{name}` in {path}")
    if unlabelled := len(labels) - len(theirs):
        notes.append(f"{unlabelled:,} of the {len(labels):,} examples of {path} have no label")
    found = _target(name, str(path), {k: v[theirs].astype(np.float64) for k, v in labels.columns.items()})
    values_n = np.full(len(table), np.nan)
    values_n[ours] = found.values_n
    return Target(name, str(path), values_n, [*notes, *found.notes])


def _target(name: str, path: str, columns: dict[str, Floats]) -> Target:
    """A row without a token to be learned has no difficulty, and is left out; any other gap is refused."""
    values_n, tokens_n = columns[name], columns.get(f"{name}{TOKENS}")
    known_n = np.ones(len(values_n), dtype=bool) if tokens_n is None else tokens_n > 0
    bad = int((~np.isfinite(values_n[known_n])).sum())
    if bad:
        raise DataError(
            f"{path}: `{name}` is no finite number for {bad:,} of {int(known_n.sum()):,} examples; a target must be "
            "known: measure it again, or take those rows out"
        )
    if known_n.sum() < FEWEST:
        raise DataError(
            f"{path}: `{name}` is known of {int(known_n.sum())} labelled examples; at least {FEWEST} are needed"
        )
    if np.ptp(values_n[known_n]) == 0:
        raise DataError(
            f"{path}: `{name}` is the same for all examples, {values_n[known_n][0]:g}; nothing can foresee it"
        )
    empty = len(known_n) - int(known_n.sum())
    notes = [f"{counted(empty, 'example')} without a token to learn, and so without `{name}`"] if empty else []
    return Target(name, path, np.where(known_n, values_n, np.nan), notes)


def _distinct(read: Difficulties, notes: list[str]) -> Labels:
    """Each id once: a row that is in the data twice is one example."""
    labels = read.labels
    ids = labels.ids.astype("S16")
    _, first = np.unique(ids, return_index=True)
    first = np.sort(first)
    if repeats := len(ids) - len(first):
        notes.append(f"{labels.path}: {counted(repeats, 'label')} of rows that were labelled already are left out")
    layers = None if labels.layers is None else labels.layers[first]
    columns = {name: values[first] for name, values in labels.columns.items()}
    return Labels(ids[first], columns, layers, labels.about, labels.path)


def _names(paths: list[str]) -> list[str]:
    """Each file by its stem, or with its folder where two would be alike."""
    for name in (lambda path: path.stem, lambda path: f"{path.parent.name}-{path.stem}", str):
        names = [name(Path(path)) for path in paths]
        if len(set(names)) == len(names):
            return names
    raise DataError(
        f"{next(path for path in paths if paths.count(path) > 1)} is named twice; name each label file once"
    )


def _common(parts: list[Labels], names: list[str], notes: list[str]) -> tuple[Ids, list[npt.NDArray[np.int64]]]:
    """The examples that all files have, in the order of the first, and their places in each."""
    ids = parts[0].ids
    for part in parts[1:]:
        both = np.isin(ids, part.ids)
        if not both.any():
            raise DataError(
                f"{part.path} belongs to other data than {parts[0].path}: they have no example in common; label the "
                "same rows"
            )
        ids = ids[both]
    for name, part in zip(names, parts, strict=True):
        if lacking := len(part) - len(ids):
            notes.append(f"{name}: {lacking:,} of {len(part):,} labels are left out, as other files lack them")
    places = []
    for part in parts:
        order = np.argsort(part.ids)
        places.append(order[np.searchsorted(part.ids[order], ids)])
    return ids, places


def _merged(names: list[str], taken: list[dict[str, Floats]], notes: list[str]) -> dict[str, Floats]:
    if len(taken) == 1:
        return taken[0]
    alike = [name for name in taken[0] if all(_alike(each.get(name), taken[0][name]) for each in taken[1:])]
    if alike:
        notes.append(f"the same in all files, and so shown once: {', '.join(alike)}")
    merged = {
        f"{name}.{column}": values
        for name, each in zip(names, taken, strict=True)
        for column, values in each.items()
        if column not in alike
    }
    return merged | {name: taken[0][name] for name in alike}


def _alike(one: Floats | None, other: Floats) -> bool:
    return one is not None and np.allclose(one, other, rtol=ALIKE, atol=1e-5, equal_nan=True)


def told(labels: Labels) -> dict[str, Any]:
    """What a label file says of its making, for people."""
    about = labels.about
    models = {
        role: str(model.get("name", ""))
        for role, model in (about.get("models") or {}).items()
        if isinstance(model, dict)
    }
    settings = about.get("settings") or {}
    cost = {key: float(value) for key, value in (about.get("cost") or {}).items() if isinstance(value, int | float)}
    return {"models": models, "settings": dict(settings), "cost": cost}
