"""What there is to tell about a run, read from its folder: parameters, figures step by step, results, files.

Trackers are fed from the same files that people read. So a run in a tracker is the run in the folder, whether it was
told while it trained, after a resume, or weeks later by `curricle export mlflow`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from ...runtime.files import read_json

ABOUT = "arm.json"
LOGS = {"metrics": "", "heldout": "eval/"}
"""The logs of a run, and what the names of their figures begin with."""
COST = ("steps", "tokens", "supervised_tokens", "epochs", "repeats", "train_loss", "seconds", "peak_memory_bytes")
"""What is told of a result beside its measurements."""
OWN_FILES = (ABOUT, "results.json")
SHARED_FILES = ("recipe.yaml", "environment.json", "comparison.json", "report.html", "report.md")
"""Files of one run, and those of the experiment it belongs to."""


@dataclass(frozen=True)
class Figure:
    """One number of one step; `time_ms` is when it was written, in milliseconds since 1970."""

    name: str
    value: float
    step: int
    time_ms: int


def numbers(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """All numbers of a row, those inside mappings and lists too.

    >>> dict(numbers({"loss": 2.0, "clipped": True, "layer": [0.5, 1.0], "what": "eval"}))
    {'loss': 2.0, 'clipped': 1.0, 'layer/0': 0.5, 'layer/1': 1.0}
    """
    for name, value in tree.items():
        if isinstance(value, bool | int | float):
            yield readable(f"{prefix}{name}"), float(value)
        elif isinstance(value, Mapping):
            yield from numbers(value, f"{prefix}{name}/")
        elif isinstance(value, list):
            yield from numbers({str(place): item for place, item in enumerate(value)}, f"{prefix}{name}/")


def readable(name: str) -> str:
    """Only what every tracker takes in a name."""
    return re.sub(r"[^\w\-. /]", "_", name, flags=re.ASCII)


def figures(run: Path, log: str, after: int) -> list[Figure]:
    """The figures of a log's steps beyond `after`; a line that is being written is left for the next time.

    No line says when it was written, but the file does, and each step how long it took.
    """
    path = run / f"{log}.jsonl"
    if not path.exists():
        return []
    end = path.stat().st_mtime
    rows = [orjson.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
    found: list[Figure] = []
    for row in reversed(rows):
        if row["step"] > after:
            told = {name: value for name, value in row.items() if name != "step"}
            time_ms = int(end * 1000)
            found += [Figure(name, value, row["step"], time_ms) for name, value in numbers(told, LOGS[log])]
        end -= row.get("seconds", 0.0)
    return found[::-1]


def results(run: Path) -> dict[str, float]:
    """What a finished run came to; nothing before it has finished."""
    if not (run / "results.json").exists():
        return {}
    held = read_json(run / "results.json")
    cost = {name: held[name] for name in COST if held.get(name) is not None}
    return dict(numbers(held.get("metrics", {}) | cost, "result/"))


def parameters(run: Path) -> dict[str, str]:
    """The run's resolved recipe, one text a key: `training.learning_rate`, `data.train`."""
    about = read_json(run / ABOUT)
    seed = run.name.removeprefix("seed-")
    return {"arm": about["arm"], "seed": seed, "recipe_hash": about["hash"]} | dict(_leaves(about["settings"]))


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            text = value if isinstance(value, str) else orjson.dumps(value).decode()
            yield readable(f"{prefix}{name}"), text


def files(run: Path) -> list[Path]:
    """What is kept beside the numbers, as far as it is there."""
    experiment = run.parent.parent
    there = [*(run / name for name in OWN_FILES), *(experiment / name for name in SHARED_FILES)]
    return [path for path in there if path.exists()]


def title(run: Path) -> str:
    """The run by experiment, arm and seed."""
    return "/".join(run.resolve().parts[-3:])
