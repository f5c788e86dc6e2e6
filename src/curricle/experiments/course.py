"""What a run's order did, over the tokens it was trained on: read from its `metrics.jsonl` and `consumed.jsonl`.

The run is cut into equal numbers of tokens, one line of the table each, and every column is also drawn as a line of
blocks, from its own least to its own largest value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import RunError
from ..runtime.logs import JsonLog
from .convergence import converged_at, spread
from .results import render

BLOCKS = "▁▂▃▄▅▆▇█"
_SHARES = "step_share_"


@dataclass(frozen=True)
class Course:
    """One run; prints itself."""

    name: str
    parts: list[dict[str, Any]]
    """A row for each stretch of tokens: where it ends, and the means or counts of its steps."""
    converged: list[float | None] = field(default_factory=list)
    """For each layer the share of the tokens at which it had converged, where a run has come to its end."""

    def __str__(self) -> str:
        lines = [self.name, ""]
        width = max((len(name) for name in self.parts[0]), default=0)
        for name in list(self.parts[0])[2:]:
            values = [part[name] for part in self.parts]
            drawn = sparkline(values)
            if drawn:
                least, most = min(values), max(values)
                lines.append(f"{name:<{width}}  {drawn}  {least:.3g} to {most:.3g}")
        return "\n".join([*lines, "", render(self.parts), *_layers(self.converged)])


def courses(folder: str | Path, num_parts: int = 12, arm: str | None = None) -> list[Course]:
    """Of one run's folder, or of every run in an experiment's; with `arm` of that arm only."""
    folder = Path(folder)
    found = sorted(folder.glob("metrics.jsonl")) or sorted(folder.glob("seed-*/metrics.jsonl"))
    found = found or sorted(folder.glob(f"{arm or '*'}/seed-*/metrics.jsonl"))
    if not found:
        of_arm = f" of the arm `{arm}`" if arm else ""
        raise RunError(f"{folder} holds no run{of_arm} that has begun: no metrics.jsonl in it or in its ARM/seed-K")
    return [_course(path.parent, folder, num_parts) for path in found]


def _course(run: Path, root: Path, num_parts: int) -> Course:
    steps, consumed = JsonLog(run / "metrics.jsonl").rows(), JsonLog(run / "consumed.jsonl").rows()
    rows_of = {line["step"]: line["rows"] for line in consumed}
    if not steps or any(step["step"] not in rows_of for step in steps):
        raise RunError(f"{run}: metrics.jsonl and consumed.jsonl do not have the same steps; are files missing?")
    total, seen = steps[-1]["tokens"], set[int]()
    parts: list[list[dict[str, Any]]] = [[] for _ in range(min(num_parts, len(steps)))]
    for step in steps:
        parts[min(len(parts) - 1, (step["tokens"] - step["step_tokens"]) * len(parts) // max(1, total))].append(step)
    shown = [_part(part, rows_of, seen) for part in parts if part]
    ended = (run / "results.json").exists() or steps[-1]["step"] == steps[-1].get("planned_steps")
    name = str(run.relative_to(root)) if run != root else run.name
    return Course(name, shown, converged_at(steps) if ended else [])


def _layers(shares: Sequence[float | None]) -> list[str]:
    """A line on when the layers had converged, from the lowest up; nothing where that is not known."""
    known = [share for share in shares if share is not None]
    if not known:
        return []
    each = " ".join("-" if share is None else f"{share:.2f}" for share in shares)
    apart = spread(shares)
    end = "" if apart is None else f" {sparkline(known)}".rstrip() + f"  spread {apart:.2f}"
    return ["", f"layers converged at, in shares of the tokens, layer 0 first: {each}{end}"]


def _part(steps: list[dict[str, Any]], rows_of: dict[int, list[list[int]]], seen: set[int]) -> dict[str, Any]:
    taken = [example for step in steps for row in rows_of[step["step"]] for example in row]
    repeats = 0
    for example in taken:
        repeats += example in seen
        seen.add(example)
    last = steps[-1]
    part = {"tokens": last["tokens"], "step": last["step"], "admitted": _mean(steps, "admitted_share", 1.0)}
    if "step_difficulty" in last:
        part["difficulty"] = _mean(steps, "step_difficulty", 0.0)
    for name in (name for name in last if name.startswith(_SHARES)):
        part[name.removeprefix(_SHARES)] = _mean(steps, name, 0.0)
    part |= {"examples": len(taken), "repeats": repeats / max(1, len(taken)), "loss": _mean(steps, "loss", 0.0)}
    if "open_layers" in last:
        part["layers"] = sum(len(step["open_layers"]) for step in steps) / len(steps)
    return part


def _mean(steps: list[dict[str, Any]], name: str, absent: float) -> float:
    return float(sum(step.get(name, absent) for step in steps) / len(steps))


def sparkline(values: Sequence[float]) -> str:
    """A block for each value, from the least to the largest; nothing where they are all the same.

    >>> sparkline([0.2, 0.4, 1.0])
    '▁▃█'
    """
    least, most = min(values), max(values)
    if most == least:
        return ""
    return "".join(BLOCKS[round((value - least) / (most - least) * (len(BLOCKS) - 1))] for value in values)
