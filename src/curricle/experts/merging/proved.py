"""Whether a merge is proved: what it takes, and whether that is there."""

from __future__ import annotations

from math import prod
from pathlib import Path

from ...errors import RecipeError
from ...runtime.progress import say
from .plan import Plan

_HELD = 2.5
"""Times the model in float32: the merged one, the base beside it, and what runs."""


def is_proved(plan: Plan, asked: bool | None) -> bool:
    """As asked; else for adapters whose sum is linear, where memory suffices."""
    if asked is False:
        return False
    linear = not plan.is_sparse
    if asked and not linear:
        method = plan.about["method"]
        raise RecipeError(f"prove is for sums, and {method} drops a part of each difference; leave it out")
    if asked:
        return True
    if not all(expert.low_rank for expert in plan.experts):
        return False
    if not linear:
        say(f"not proved: {plan.about['method']} keeps a part of each difference")
        return False
    needed = _HELD * 4 * sum(prod(plan.base.shape(name)) for name in plan.base.names)
    free = _available()
    if free is not None and free < needed:
        say(f"the merge is not proved: that takes about {needed / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free")
        return False
    return True


def _available() -> int | None:
    """Free memory in bytes; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
