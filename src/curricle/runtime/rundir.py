"""A run's folder belongs to one process at a time and to one recipe."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import RunError
from .files import disk_error
from .ranks import is_main


@contextmanager
def hold(folder: str | Path) -> Iterator[Path]:
    """Keep the folder for this process; a second one is refused with the first one's number.

    The lock is the operating system's: it goes with the process, however that ends, so none is ever stale.
    """
    folder = Path(folder)
    if not is_main():
        yield folder
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder / ".lock").open("a+")
    except OSError as error:
        raise disk_error(folder, error) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.seek(0)
            owner = handle.read().strip() or "unknown"
            raise RunError(
                f"{folder} is in use by another process (pid {owner}); wait for it, or give this run another name"
            ) from None
        handle.seek(0)
        handle.truncate()
        handle.write(str(os.getpid()))
        handle.flush()
        yield folder
