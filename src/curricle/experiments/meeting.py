"""How the processes of a torchrun meet, as recipes say it."""

from __future__ import annotations

from ..errors import RecipeError
from ..runtime.ranks import join, world_size
from .recipe import Settings

LIMIT = "ddp_timeout"
"""The training argument that says how long they wait for one another."""


def meet(*carried_out: Settings) -> None:
    """Once, before all that is to be carried out; the arms must agree on how."""
    if world_size() == 1:
        return
    ways = {
        (each.distributed.backend, bool(each.training.get("use_cpu")), each.training.get(LIMIT)) for each in carried_out
    }
    if len(ways) > 1:
        raise RecipeError(
            f"the arms differ in distributed.backend, training.use_cpu or training.{LIMIT}, but their processes meet "
            "once; run such arms one at a time with --arms"
        )
    [(backend, use_cpu, timeout)] = ways
    join(backend, use_cpu, timeout)
