"""Every evaluation of a search: a line in `search.jsonl`, and never made twice.

What a mixture's losses are depends on the base, the experts and the rows, so a line carries the fingerprints of those.
A search started again asks for the same weights in the same order and is given the losses that stand there, until it
comes to weights that nothing is known of; another method or a larger budget goes on from the same lines.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from ...errors import RunError
from ...runtime.logs import JsonLog
from ...runtime.ranks import barrier, is_main
from ...runtime.rundir import LOCK

LOG = "search.jsonl"
DIGITS = 6
"""Weights that agree to so many digits are the same."""

On = Literal["all", "first"]
Key = dict[str, str]
"""Fingerprints by what they are of: `rows`, known without a model, and `weights`, of the base and its experts."""


@dataclass(frozen=True)
class Evaluation:
    """Weights, and what came of them."""

    weights: dict[str, float]
    losses: dict[str, float]
    """The held-out loss of each domain."""
    score: float
    """The number that the search makes small."""
    seconds: float


class Evaluations:
    """Losses by weights, made now or found in the log."""

    def __init__(
        self,
        folder: Path,
        key: Key,
        losses_of: Callable[[Mapping[str, float], On], dict[str, float]],
        set_aside: Callable[[Path], None] | None = None,
    ) -> None:
        """`set_aside` moves the files of another search out of the way; without it they are refused."""
        self.path, self._key, self._losses_of = folder / LOG, key, losses_of
        self._log = JsonLog(self.path)
        self._known: dict[tuple[Any, ...], dict[str, Any]] = {}
        if is_main():
            self._make_room(folder, set_aside)
        barrier()
        for row in self._log.rows():
            self._known[_key(row["weights"], row["rows"])] = row
        self.found, self.made = len(self._known), 0

    def _make_room(self, folder: Path, set_aside: Callable[[Path], None] | None) -> None:
        """Leave the log with whole lines of this search alone."""
        if any(row.get("key") != self._key for row in lines_there(folder)):
            if set_aside is None:
                raise of_another(folder)
            set_aside(folder)
        self._log.cut_back(10**9)

    def losses(self, weights: Mapping[str, float], on: On = "all") -> tuple[dict[str, float], float]:
        """The loss of each domain, and the seconds it took."""
        key = _key(weights, on)
        if key not in self._known:
            started = time.perf_counter()
            losses = self._losses_of(weights, on)
            row = {
                "step": len(self._known) + 1,
                "weights": dict(weights),
                "losses": {name: loss if math.isfinite(loss) else None for name, loss in losses.items()},
                "rows": on,
                "seconds": round(time.perf_counter() - started, 4),
                "key": self._key,
            }
            if is_main():
                self._log.append(row)
            self._known[key] = row
            self.made += 1
        found = self._known[key]
        # JSON has no infinity: a mixture that has burst is written as null.
        return {name: math.inf if loss is None else loss for name, loss in found["losses"].items()}, found["seconds"]

    def close(self) -> None:
        self._log.close()


def lines_there(folder: Path) -> list[dict[str, Any]]:
    """The log's lines, without half a last one. A folder of something else is refused, and left as it is."""
    others = sorted(path.name for path in folder.iterdir() if path.name != LOCK) if folder.is_dir() else []
    if others and not any(folder.glob(f"{Path(LOG).stem}*.jsonl")):
        raise RunError(f"{folder} holds {others[0]} and no search; name an empty folder, or that of a search")
    path = folder / LOG
    return [_object(line) for line in path.read_bytes().split(b"\n")[:-1]] if path.exists() else []


def check_folder(folder: Path, rows: str, experts: Sequence[str]) -> None:
    """Refuse a folder of something else, or of a search of other rows or experts by name, before a model is there to
    tell other numbers."""
    for line in lines_there(folder):
        key, weights = line.get("key"), line.get("weights")
        if not isinstance(key, dict) or key.get("rows") != rows or sorted(weights or {}) != sorted(experts):
            raise of_another(folder)


def of_another(folder: Path) -> RunError:
    return RunError(
        f"{folder / LOG} holds a search of another base, other experts or other rows; name another folder, or remove "
        "that one"
    )


def _object(line: bytes) -> dict[str, Any]:
    """A line of a file that is no search of ours says nothing."""
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _key(weights: Mapping[str, float], on: str) -> tuple[Any, ...]:
    return on, *(round(weight, DIGITS) + 0.0 for _, weight in sorted(weights.items()))
