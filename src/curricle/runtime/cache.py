"""Work kept on disk under the fingerprint of what went into it. Safe to delete at any time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .files import atomic_folder, disk_error
from .fingerprint import fingerprint


def cache_root() -> Path:
    """`$CURRICLE_CACHE`, else `~/.cache/curricle`."""
    asked = os.environ.get("CURRICLE_CACHE")
    return Path(asked) if asked else Path.home() / ".cache" / "curricle"


def cached_folder(kind: str, key: str, build: Callable[[Path], None]) -> Path:
    """The folder `kind/key`, built once: of several processes that want it (ranks, say) one builds, the rest wait."""
    path = cache_root() / kind / key
    if path.is_dir():
        return path
    with locked(path):
        if not path.is_dir():
            with atomic_folder(path) as scratch:
                build(scratch)
    return path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time makes what is to lie at `path`; whoever waited looks again before making it."""
    try:
        locks = cache_root() / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        lock = (locks / fingerprint(str(path.absolute()))).open("a")
    except OSError as error:
        raise disk_error(path, error) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
