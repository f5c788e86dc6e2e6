"""The kernel calls Python 3.11 has no name for, by way of the C library."""

from __future__ import annotations

import ctypes
import os
from typing import Any

NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
MNT_DETACH = 2

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 24, 38
_CAPABILITIES_V3 = 0x20080522
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

NOBODY = 65534
"""The user that the code is outside when the user is root: limits on processes bind everyone but root."""

# No other thread runs here while a call is in progress, so the interpreter lock is kept and a child never waits for it.
_libc = ctypes.PyDLL(None, use_errno=True)


def call(name: str, *args: Any) -> int:
    """A function of the C library; a negative result is raised as OSError."""
    result = int(getattr(_libc, name)(*args))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def syscall(number: int, *args: Any) -> int:
    return call("syscall", ctypes.c_long(number), *args)


def unshare(flags: int) -> None:
    call("unshare", flags)


def mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    encoded = kind.encode() if kind is not None else None
    call("mount", os.fsencode(source), os.fsencode(target), encoded, ctypes.c_ulong(flags), options.encode() or None)


def unmount(target: str) -> None:
    call("umount2", os.fsencode(target), MNT_DETACH)


def pivot_root(new: str, old: str) -> None:
    syscall(_PIVOT_ROOT[os.uname().machine], os.fsencode(new), os.fsencode(old))


def prctl(option: int, value: Any = 0, more: Any = 0) -> None:
    zero = ctypes.c_ulong(0)
    first = ctypes.c_ulong(value) if isinstance(value, int) else value
    call("prctl", option, first, more or zero, zero, zero)


def drop_bounding_set() -> None:
    """No capability can ever be gained again, by no program."""
    for capability in range(64):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:  # past the last one this kernel knows
            return


def drop_capabilities() -> None:
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_V3, 0)
    call("capset", header, (ctypes.c_uint32 * 6)())
