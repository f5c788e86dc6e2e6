"""Every evaluation of a search: a line in `search.jsonl`, and never made twice.

What a mixture's losses are depends on the base, the experts and the rows, so a line carries the fingerprint of those.
A search started again asks for the same weights in the same order and is given the losses that stand there, until it
comes to weights that nothing is known of; another method or a larger budget goes on from the same lines.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...errors import RunError
from ...runtime.logs import JsonLog
from ...runtime.ranks import barrier, is_main
from ...runtime.rundir import LOCK

LOG = "search.jsonl"
DIGITS = 6
"""Weights that agree to so many digits are the same."""

On = Literal["all", "first"]


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
        self, folder: Path, key: str, losses_of: Callable[[Mapping[str, float], On], dict[str, float]]
    ) -> None:
        self.path, self._key, self._losses_of = folder / LOG, key, losses_of
        self._log = JsonLog(self.path)
        self._known: dict[tuple[Any, ...], dict[str, Any]] = {}
        for row in self._read():
            self._known[_key(row["weights"], row["rows"])] = row
        self.found, self.made = len(self._known), 0

    def _read(self) -> list[dict[str, Any]]:
        """The lines that are there, without half a last one. A folder of something else is left as it is."""
        folder = self.path.parent
        if is_main():
            others = sorted(path.name for path in folder.iterdir() if path.name != LOCK)
            if others and not self.path.exists():
                raise RunError(f"{folder} holds {others[0]} and no search; name an empty folder, or that of a search")
            self._log.cut_back(10**9)
        barrier()
        rows = self._log.rows()
        if any(row["key"] != self._key for row in rows):
            raise RunError(
                f"{self.path} holds a search of another base, other experts or other rows; name another folder, or "
                "remove that one"
            )
        return rows

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


def _key(weights: Mapping[str, float], on: str) -> tuple[Any, ...]:
    return on, *(round(weight, DIGITS) + 0.0 for _, weight in sorted(weights.items()))
