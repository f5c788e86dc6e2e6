"""Landlock: a process gives up the files and the network it does not need, without any privilege (Linux 5.13)."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence

from . import linux

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_TCP = 3
_SCOPES = 3


def version() -> int:
    """The interface's version; 0 where there is none."""
    try:
        return linux.syscall(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    except (OSError, AttributeError):
        return 0


class Rules:
    """Reading below `readable`, everything below `writable`, no TCP, no signals to others.

    A rule for a folder holds for what is mounted below it later.
    """

    def __init__(self, abi: int, readable: Sequence[str], writable: Sequence[str]) -> None:
        rights = max(bits for since, bits in _FILE_RIGHTS.items() if since <= abi)
        wanted = struct.pack("=QQQ", rights, _TCP if abi >= 4 else 0, _SCOPES if abi >= 6 else 0)
        size = 24 if abi >= 6 else 16 if abi >= 4 else 8
        self.file = linux.syscall(_CREATE, wanted, ctypes.c_size_t(size), ctypes.c_uint32(0))
        for path in readable:
            _allow(self.file, path, _READ_FILE | (_READ_DIR if os.path.isdir(path) else 0))
        for path in writable:
            _allow(self.file, path, rights if os.path.isdir(path) else _READ_FILE | _WRITE_FILE)

    def apply(self) -> None:
        """From here on, for this process and all it starts, for good; needs no_new_privs."""
        linux.syscall(_RESTRICT, ctypes.c_int(self.file), ctypes.c_uint32(0))
        os.close(self.file)


def _allow(ruleset: int, path: str, rights: int) -> None:
    beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", rights, beneath)
        linux.syscall(_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(1), rule, ctypes.c_uint32(0))
    finally:
        os.close(beneath)
