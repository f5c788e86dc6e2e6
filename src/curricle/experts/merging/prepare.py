"""From what was asked to a plan: the inputs opened and checked, one rule for every tensor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..checkpoint import Checkpoint
from ..difference import Difference
from .config import MergeSettings
from .inputs import open_base, open_expert
from .methods import Options
from .plan import Plan


def plan_of(
    base: str | Path,
    experts: Mapping[str, str | Path | Difference],
    weights: tuple[float, ...],
    densities: tuple[float, ...],
    method: str,
    normalize: str,
    settings: MergeSettings,
) -> Plan:
    """Of `merge`: every tensor has the same weights."""
    opened: Checkpoint = open_base(base)
    inputs = [open_expert(name, path, opened) for name, path in experts.items()]
    options = Options(method, normalize == "sum1", settings.scale, densities)
    rule = (weights, options)
    about = {
        "method": method,
        "normalize": normalize,
        "scale": settings.scale,
        "weights": {expert.name: weight for expert, weight in zip(inputs, weights, strict=True)},
        **({"density": dict(zip(experts, densities, strict=True))} if densities else {}),
    }
    return Plan(opened, inputs, lambda name: rule, settings, about)
