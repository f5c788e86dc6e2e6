"""Folders of runs: each belongs to one process at a time and to one recipe, and is found by its arm's too."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ..errors import RunError
from .files import disk_error
from .ranks import is_main

LOCK = ".lock"
_TRIES = 1000
"""Each is lost only to another process that let go in between."""


@contextmanager
def hold(folder: str | Path) -> Iterator[Path]:
    """Keep the folder for this process; a second one is refused with the first one's number.

    The lock is the operating system's: it goes with the process, however that ends, so none is ever stale. A folder
    that nothing was written to is gone afterwards.
    """
    folder = Path(folder)
    if not is_main():
        yield folder
        return
    with _locked(folder) as handle:
        try:
            _sign(handle, folder)
            yield folder
        finally:
            if folder.is_dir() and [path.name for path in folder.iterdir()] == [LOCK]:
                (folder / LOCK).unlink()
                with suppress(OSError):  # another process waited for it and has put its own lock there
                    folder.rmdir()


def find_run(run: Path) -> Path:
    """The folder of the one finished run meant by a path."""
    if (run / "model").is_dir():
        return run
    found = runs_below(run)
    if len(found) == 1:
        return found[0]
    if not found:
        raise RunError(
            f"{run} holds no finished run: looked for model/ and */seed-*/model; is the path right, the run done?"
        )
    names = ", ".join(str(path.relative_to(run)) for path in found[:6])
    raise RunError(f"{run} holds {len(found)} runs ({names}); name one of them")


def runs_below(folder: Path) -> list[Path]:
    """The finished runs of an arm, or of an experiment."""
    return sorted(path.parent for level in ("seed-*/model", "*/seed-*/model") for path in folder.glob(level))


def _sign(handle: IO[str], folder: Path) -> None:
    """Leave this process's number, past Python's buffer: what a full disk refuses would be tried again on closing."""
    try:
        os.truncate(handle.fileno(), 0)
        os.write(handle.fileno(), str(os.getpid()).encode())
    except OSError as error:
        raise disk_error(folder, error) from error


def _locked(folder: Path) -> IO[str]:
    """The lock file, open and locked. One that its last owner removed while we waited is not the one others see."""
    for _ in range(_TRIES):
        handle = _opened(folder)
        if handle is None:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.seek(0)
            owner = handle.read().strip() or "unknown"
            handle.close()
            raise RunError(
                f"{folder} is in use by another process (pid {owner}); wait for it, or give this run another name"
            ) from None
        with suppress(FileNotFoundError):
            if os.path.samestat((folder / LOCK).stat(), os.fstat(handle.fileno())):
                return handle
        handle.close()
    raise RunError(f"{folder} is made and removed by other processes all the time; give this run another name")


def _opened(folder: Path) -> IO[str] | None:
    """None where the last owner removed the folder just then."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        if os.path.lexists(folder):
            raise disk_error(folder, error) from error
        return None
    except OSError as error:
        raise disk_error(folder, error) from error
    try:
        return (folder / LOCK).open("a+")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise disk_error(folder, error) from error
