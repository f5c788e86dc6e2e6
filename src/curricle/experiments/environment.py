"""What a result was made with: versions, machine, git revision. Written beside every run."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib import metadata
from typing import Any

from ..runtime.ranks import world_size
from .doctor import LIBRARIES


def environment() -> dict[str, Any]:
    """Versions of everything that can change a number, and where it ran."""
    import torch

    cuda = torch.cuda.is_available()
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions(),
        "device": torch.cuda.get_device_name() if cuda else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "world_size": world_size(),
        "command": sys.argv,
        "git": git_revision(),
    }


def versions() -> dict[str, str]:
    """Of Curricle and of the libraries whose numbers it passes on."""
    return {name: metadata.version(name) for name in ("curricle", *LIBRARIES)}


def git_revision() -> str | None:
    """The revision of the directory the command runs in, `+changes` when files differ from it; None outside git."""
    try:
        revision = _git("rev-parse", "HEAD")
        return f"{revision}+changes" if _git("status", "--porcelain", "--untracked-files=no") else revision
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
