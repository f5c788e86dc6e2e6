"""How the processes of a torchrun meet, as recipes say it."""

from __future__ import annotations

from ..errors import RecipeError
from ..runtime.progress import say
from ..runtime.ranks import join, world_size
from .recipe import Settings

LIMIT = "ddp_timeout"
"""The training argument that says how long they wait for one another."""


def meet(*carried_out: Settings) -> None:
    """Once, before all that is to be carried out; the arms must agree on how."""
    for line in dict.fromkeys(line for each in carried_out if (line := _regrouped(each)) is not None):
        say(line)
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


def _regrouped(settings: Settings) -> str | None:
    """What is said where a step's rows are dealt out to another number of processes than the recipe names; a number
    that cannot share them is refused."""
    batch, written = (settings.training[key] for key in ("per_device_train_batch_size", "gradient_accumulation_steps"))
    planned, ranks = settings.distributed.world_size, world_size()
    now = settings.distributed.accumulation(batch, written, ranks)
    if planned in (None, ranks):
        return None
    return (
        f"{ranks} process{'es'[: 2 * (ranks > 1)]} in place of {planned}: a step keeps its "
        f"{batch * now * ranks} rows, accumulated over {now} micro batches in place of {written}"
    )
