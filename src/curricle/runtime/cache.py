"""Work kept on disk under the fingerprint of what went into it. Safe to delete at any time."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from .files import atomic_folder


def cache_root() -> Path:
    """`$CURRICLE_CACHE`, else `~/.cache/curricle`."""
    asked = os.environ.get("CURRICLE_CACHE")
    return Path(asked) if asked else Path.home() / ".cache" / "curricle"


def cached_folder(kind: str, key: str, build: Callable[[Path], None]) -> Path:
    """The folder `kind/key`, built once. Two processes may build at once: the work is the same and one copy stays."""
    path = cache_root() / kind / key
    if not path.is_dir():
        with atomic_folder(path) as scratch:
            build(scratch)
    return path
