"""Bounds on all processes of a worker together, where this process may make control groups: root in most containers.

Version 1 has a tree for each controller, version 2 one for all; a group is a folder below this process's own group.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import time
from pathlib import Path

from .config import Limits

_PREFIX = "curricle-"
_WORKER_MIB = 128
_TASKS = 16
_OLD_SECONDS = 3600
_numbers = itertools.count()


class Groups:
    """The groups of one worker; made, filled with a process, removed when it has ended."""

    def __init__(self, limits: Limits) -> None:
        """OSError where groups cannot be made."""
        memory = ((limits.processes + 1) * limits.memory_mib + _WORKER_MIB) << 20
        tasks = 2 * (_TASKS + 4 * limits.processes) + 8
        self._folders: list[Path] = []
        try:
            for home, bounds in _homes(str(memory), str(tasks)):
                _sweep(home)
                folder = home / f"{_PREFIX}{os.getpid()}-{next(_numbers)}"
                folder.mkdir()
                self._folders.append(folder)
                for name, value in bounds.items():
                    (folder / name).write_text(value, encoding="ascii")
        except BaseException:
            self.close()
            raise

    def add(self, pid: int) -> None:
        for folder in self._folders:
            (folder / "cgroup.procs").write_text(str(pid), encoding="ascii")

    def close(self) -> None:
        for folder in self._folders:
            for _ in range(200):  # what was in it is ending
                with contextlib.suppress(OSError):
                    folder.rmdir()
                if not folder.exists():
                    break
                time.sleep(0.01)


def available() -> bool:
    """Whether groups can be made here; tried."""
    try:
        Groups(Limits()).close()
    except OSError:
        return False
    return True


def _homes(memory: str, tasks: str) -> list[tuple[Path, dict[str, str]]]:
    """Folders to make groups in, with the files that bound them."""
    own: dict[str, str] = {}
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        own |= {name: path.lstrip("/") for name in controllers.split(",")}
    places: dict[str, Path] = {}
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, place, kind, options, *_ = line.split()
        names = [""] if kind == "cgroup2" else options.split(",") if kind == "cgroup" else []
        places |= {name: Path(place) / own[name] for name in names if name in own}
    if "memory" in places and "pids" in places:
        return [(places["memory"], {"memory.limit_in_bytes": memory}), (places["pids"], {"pids.max": tasks})]
    if "" not in places:
        raise OSError("no control groups are mounted")
    return [(places[""], {"memory.max": memory, "pids.max": tasks})]


def _sweep(home: Path) -> None:
    """Remove empty groups of processes that were killed before they could."""
    for folder in home.glob(f"{_PREFIX}*"):
        owner = re.fullmatch(rf"{_PREFIX}(\d+)-\d+", folder.name)
        with contextlib.suppress(OSError):
            old = time.time() - folder.stat().st_mtime > _OLD_SECONDS  # another container may share this tree
            if owner and old and not Path(f"/proc/{owner[1]}").exists():
                folder.rmdir()
