"""Where this process computes, and in what precision."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Half = Literal["bfloat16", "float16"]


def rank_device(use_cpu: bool = False) -> torch.device:
    """This rank's GPU, or the CPU where there is none or none is wanted."""
    import torch

    if use_cpu or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def computing(device: torch.device, half: Half | None) -> AbstractContextManager[object]:
    """Autocast to a half precision, as the trainer does it inside the model's forward; nothing without one."""
    import torch

    return torch.autocast(device.type, dtype=getattr(torch, half)) if half else nullcontext()
