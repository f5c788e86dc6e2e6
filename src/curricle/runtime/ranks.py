"""Who am I among the processes of this run, and sums over all of them. One process is rank 0 of 1."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

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
    import torch.distributed as dist

    if world_size() == 1 or not dist.is_initialized():
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total


def barrier() -> None:
    import torch.distributed as dist

    if world_size() > 1 and dist.is_initialized():
        dist.barrier()


def join(backend: str = "auto") -> None:
    """Meet the other processes of a torchrun; nothing to do alone, or when the group stands already."""
    if world_size() == 1:
        return
    import torch
    import torch.distributed as dist

    if not dist.is_initialized():
        dist.init_process_group(("nccl" if torch.cuda.is_available() else "gloo") if backend == "auto" else backend)
