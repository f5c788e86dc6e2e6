"""The file tree inside: the interpreter's library, read-only, an empty folder, and nothing else of the machine.

/                 a file system in memory, read-only once it is made
/usr/lib/...      the standard library and the shared libraries it needs, at their own paths, read-only
/dev/null ...     null, zero, urandom
/box              where each process gets a folder of its own
/tmp -> /box
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from . import linux

_OLD = "/old"
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")


def build_root(readable: Sequence[str], hidden: Sequence[str], folder: str) -> None:
    """Replace this process's whole file tree; it is in a mount namespace of its own."""
    linux.mount("none", "/", None, linux.MS_REC | linux.MS_PRIVATE)
    linux.mount("root", "/tmp", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "size=1m,mode=755")
    os.mkdir("/tmp" + _OLD)
    linux.pivot_root("/tmp", "/tmp" + _OLD)
    os.chdir("/")
    for path in (*readable, *_DEVICES):
        _show(path)
    for path in hidden:
        linux.mount("empty", path, "tmpfs", linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV, "size=4k,mode=755")
    os.makedirs(folder)
    os.symlink(folder, "/tmp")
    linux.unmount(_OLD)
    os.rmdir(_OLD)
    flags = linux.MS_REMOUNT | linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV
    linux.mount("root", "/", None, flags)


def _show(path: str) -> None:
    source = _OLD + path
    if os.path.isdir(source):
        os.makedirs(path, 0o755, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
    linux.mount(source, path, None, linux.MS_BIND | linux.MS_REC)
    device = linux.MS_RDONLY if path in _DEVICES else linux.MS_RDONLY | linux.MS_NODEV
    kept = os.statvfs(path).f_flag & (linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
    linux.mount("none", path, None, linux.MS_REMOUNT | linux.MS_BIND | linux.MS_NOSUID | device | kept)
