"""The runs that a law is fitted to: columns of a table, or finished run folders: parameters, tokens, held-out loss."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.readers import BadRow, read_rows
from ...errors import DataError, RecipeError
from ...runtime.files import read_json
from .law import TRAINING

Array = NDArray[np.float64]
Triple = tuple[float, float, float]

COLUMNS = ("N", "D", "C", "loss")


@dataclass(frozen=True)
class Runs:
    """One number of each for every run; `where` is how messages name them."""

    params: Array
    tokens: Array
    loss: Array
    where: str = "the runs"

    def take(self, which: Array | NDArray[Any]) -> Runs:
        return Runs(self.params[which], self.tokens[which], self.loss[which], self.where)

    def without_highest(self, num: int) -> Runs:
        """Runs of highest loss left out: those that had hardly begun to learn follow no law."""
        if not 0 <= num < len(self.loss):
            raise RecipeError(
                f"cannot leave out {num} of {len(self.loss)} runs; give a number from 0 to fewer than all."
            )
        return self.take(np.sort(np.argsort(self.loss, kind="stable")[: len(self.loss) - num]))


def read_runs(paths: Sequence[str | Path], columns: Mapping[str, str] | None = None) -> Runs:
    """Tables and run folders, together. Where a table has FLOPs (`C`) instead of tokens, D = C / (6 N)."""
    columns = dict(columns or {})
    if unknown := [name for name in columns if name not in COLUMNS]:
        raise RecipeError(f"no quantity is called {unknown[0]!r}; allowed: {', '.join(COLUMNS)}.")
    triples: list[Triple] = []
    for path in map(Path, paths):
        triples += _folder(path) if path.is_dir() else _table(path, columns)
    table = np.array(triples, dtype=np.float64).reshape(-1, 3)
    return Runs(table[:, 0], table[:, 1], table[:, 2], ", ".join(str(path) for path in paths))


def _table(path: Path, columns: Mapping[str, str]) -> Iterator[Triple]:
    named = {name: columns.get(name, name) for name in COLUMNS}
    for row in read_rows(path):
        if isinstance(row.value, BadRow):
            raise DataError(f"{path}:{row.line}: {row.value}")
        where, has = f"{path}:{row.line}", row.value
        params, loss = _number(has, named["N"], where), _number(has, named["loss"], where)
        if "D" in columns or ("C" not in columns and named["D"] in has):
            tokens = _number(has, named["D"], where)
        elif named["C"] in has:
            tokens = _number(has, named["C"], where) / (TRAINING * params)
        else:
            raise DataError(_absent(where, named["D"], has, f"(tokens), nor {named['C']!r} (FLOPs)"))
        yield params, tokens, loss


def _number(row: Mapping[str, Any], name: str, where: str) -> float:
    if name not in row:
        raise DataError(_absent(where, name, row))
    try:
        value = float(row[name])
    except (TypeError, ValueError):
        value = math.nan
    if isinstance(row[name], bool) or not (math.isfinite(value) and value > 0):
        raise DataError(f"{where}: {name} is {row[name]!r}; each run needs a number above 0; mend or remove the row.")
    return value


def _absent(where: str, name: str, row: Iterable[str], more: str = "") -> str:
    has = ", ".join(map(str, row))
    return (
        f"{where}: no column {name!r}{' ' + more if more else ''}; there are: {has}. Name yours: --columns N=...,D=..."
    )


def _folder(path: Path) -> Iterator[Triple]:
    """A run, or an experiment with its ARM/seed-K."""
    own = path / "results.json"
    files = [own] if own.exists() else sorted(path.glob("*/seed-*/results.json"))
    if not files:
        raise DataError(f"{path} holds no finished run: no results.json in it or in its ARM/seed-K.")
    for file in files:
        try:
            results = read_json(file)
        except ValueError:
            raise DataError(f"{file} is no JSON, or was cut short; run it again, or leave the folder out.") from None
        size = results.get("model") or {}
        loss = (results.get("metrics") or {}).get("loss")
        if loss is None:
            raise DataError(f"{file}: the run measured no held-out loss; name rows in `data.eval` and run again.")
        if not size or size["num_trainable"] < size["num_parameters"]:
            raise DataError(
                f"{file}: the law is of models trained whole; this run trained a part of one, or an adapter."
            )
        row = {"N": size["num_parameters"], "tokens": results.get("tokens"), "loss": loss}
        yield _number(row, "N", str(file)), _number(row, "tokens", str(file)), _number(row, "loss", str(file))
