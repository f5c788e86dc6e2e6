"""The files that a finished search leaves: weights, their picture, and what a gain of one domain costs the others."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

from ...runtime.files import write_json, write_text
from ...runtime.progress import say
from ...runtime.ranks import is_main
from .evaluations import LOG
from .found import Found
from .pareto import as_dict
from .surface import draw_surface

WEIGHTS, SURFACE, PARETO = "weights.json", "surface.svg", "pareto.json"


def write_found(found: Found, folder: Path, tokens: Mapping[str, int]) -> Found:
    """Write what was found; the same again for the same search."""
    found = Found(**{**vars(found), "folder": folder})
    if is_main():
        write_json(folder / WEIGHTS, _as_dict(found, tokens))
        write_text(folder / SURFACE, draw_surface(found))
        if conflicts := found.conflicts:
            write_json(folder / PARETO, as_dict(found.front, conflicts))
        else:
            (folder / PARETO).unlink(missing_ok=True)
    return found


def set_aside(folder: Path) -> None:
    """Give the files of another search the next free number, `search-1.jsonl`, so that a new one can start."""
    paths = [folder / name for name in (WEIGHTS, SURFACE, PARETO, LOG)]  # the log last: it says that there is a search
    number = next(i for i in count(1) if not any(_numbered(path, i).exists() for path in paths))
    for path in paths:
        if path.exists():
            path.rename(_numbered(path, number))
    kept = _numbered(folder / LOG, number).name
    say(f"{folder}: the search of another base, other experts or other rows is kept as {kept}; a new one begins")


def _numbered(path: Path, number: int) -> Path:
    return path.with_stem(f"{path.stem}-{number}")


def _as_dict(found: Found, tokens: Mapping[str, int]) -> dict[str, Any]:
    config = found.config
    every = {**found.references, "best": found.best}
    return {
        "weights": found.weights,
        "at_bound": found.at_bound,
        "normalize": config.normalize,
        "method": config.method,
        "objective": config.objective,
        "settings": config.model_dump(mode="json"),
        "score": {name: one.score for name, one in every.items()},
        "losses": {name: one.losses for name, one in every.items()},
        "starting_points": {name: one.weights for name, one in found.references.items()},
        "budget": config.budget,
        "used": found.evaluations,
        "passes": found.passes,
        "ended": found.ended,
        "tokens": dict(tokens),
        "conflicts": found.conflicts,
    }
