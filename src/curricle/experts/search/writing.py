"""The files that a finished search leaves: weights, their picture, and what a gain of one domain costs the others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...runtime.files import write_json, write_text
from ...runtime.ranks import is_main
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


def _as_dict(found: Found, tokens: Mapping[str, int]) -> dict[str, Any]:
    config = found.config
    every = {**found.references, "best": found.best}
    return {
        "weights": found.weights,
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
