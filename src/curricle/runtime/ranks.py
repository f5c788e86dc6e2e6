"""Who am I among the processes of this run, and sums over all of them. One process is rank 0 of 1."""

from __future__ import annotations

import atexit
import os
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ..errors import RunError

if TYPE_CHECKING:
    import torch


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    return rank() == 0


def all_sum(values: torch.Tensor) -> torch.Tensor:
    """The sum of a tensor over ranks, on every rank; the input is left as it was."""
    if world_size() == 1:
        return values
    import torch.distributed as dist

    if not dist.is_initialized():
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total


def barrier() -> None:
    if world_size() == 1:
        return
    import torch.distributed as dist

    if dist.is_initialized():
        dist.barrier()


def shared(value: Any) -> Any:
    """The first rank's value, on every rank."""
    if world_size() == 1:
        return value
    import torch.distributed as dist

    if not dist.is_initialized():
        return value
    values = [value]
    dist.broadcast_object_list(values)
    return values[0]


def gathered(value: Any) -> list[Any]:
    """Every rank's value, on every rank, in the order of ranks."""
    if world_size() == 1:
        return [value]
    import torch.distributed as dist

    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def all_rows(values: torch.Tensor) -> tuple[torch.Tensor, int]:
    """The rows of every rank's tensor, one rank after the other, and where this rank's begin. Numbers of rows may
    differ."""
    if world_size() == 1:
        return values, 0
    import torch
    import torch.distributed as dist

    if not dist.is_initialized():
        return values, 0
    sizes = all_sum(
        torch.zeros(world_size(), dtype=torch.long, device=values.device).index_fill_(
            0, torch.tensor([rank()], device=values.device), len(values)
        )
    ).tolist()
    padded = values.new_zeros(max(sizes), *values.shape[1:])
    padded[: len(values)] = values
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)]), sum(sizes[: rank()])


def part_at_exit() -> None:
    """Have the group of processes ended before the interpreter is: its threads, left running, abort the process now and
    then. Not after an error, when the others may be waiting in a collective that this would wait for as well."""
    atexit.unregister(_part)
    atexit.register(_part)


def stay_at_exit() -> None:
    """After an error that did not go through the interpreter."""
    atexit.unregister(_part)


def tell_launcher(error: Exception) -> None:
    """Leave the traceback of a failure where torchrun looks for it: its last words then name the rank that fell first,
    and why. The others fall after it, in the middle of a sum that never comes."""
    if "TORCHELASTIC_ERROR_FILE" in os.environ:
        from torch.distributed.elastic.multiprocessing.errors import get_error_handler

        get_error_handler().record_exception(error)


def _part() -> None:
    dist = sys.modules.get("torch.distributed")
    if dist is not None and dist.is_initialized() and getattr(sys, "last_value", None) is None:
        dist.destroy_process_group()


def join(backend: str = "auto", use_cpu: bool = False, timeout_s: float | None = None) -> None:
    """Meet the other processes of a torchrun; nothing to do alone, or when the group stands already."""
    if world_size() == 1:
        return
    import torch
    import torch.distributed as dist

    if dist.is_initialized():
        return
    if backend == "auto":
        backend = "nccl" if torch.cuda.is_available() and not use_cpu else "gloo"
    device = None
    if backend == "nccl":
        local, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if use_cpu or local >= there:
            found = "`training.use_cpu: true`" if use_cpu else f"{there} here for local rank {local}"
            raise RunError(f"nccl needs a GPU for each process; found {found}; start fewer, or use gloo")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)  # else every rank would meet on the first GPU
    timeout = None if timeout_s is None else timedelta(seconds=timeout_s)
    try:
        dist.init_process_group(backend, timeout=timeout, device_id=device)
    except dist.DistStoreError as error:
        raise RunError(f"the {world_size()} processes of this run did not meet: {error}") from error
    part_at_exit()
