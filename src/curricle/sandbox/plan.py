"""What a worker is told at its start: the bounds, the means of isolation, and the files of the interpreter."""

from __future__ import annotations

import functools
import json
import os
import platform
import subprocess
import sys
import sysconfig
from dataclasses import asdict, dataclass

from ..errors import RunError
from . import cgroups, landlock, seccomp
from .config import Limits
from .linux import NOBODY

MINIMAL = {"PYTHONHASHSEED": "0", "MALLOC_ARENA_MAX": "1", "PYTHONUTF8": "1", "OMP_NUM_THREADS": "1"}
"""The environment of a worker: nothing of the user's. Sets of text have one order, so a verdict can be repeated."""

_FIND_LIBRARIES = """
import importlib, os, sys
for name in os.listdir(sys.argv[1]):
    if ".so" in name and not name.startswith(("_test", "_tkinter", "_curses", "readline", "xx")):
        try:
            importlib.import_module(name.split(".")[0])
        except ImportError:
            pass
for path in sorted({line.split(None, 5)[5].strip() for line in open("/proc/self/maps") if "/" in line}):
    if ".so" in os.path.basename(path):
        print(path)
"""


class SandboxUnavailable(RunError):
    """Nothing on this machine isolates files and network."""


@dataclass(frozen=True)
class Plan:
    limits: Limits
    namespaces: bool
    landlock: int
    """Version of the kernel's interface; 0 for none."""
    seccomp: bool
    readable: list[str]
    """Files and folders of the interpreter, all that the code may see beside its own folder."""
    hidden: list[str]
    """Folders among them that are shown empty."""
    cgroups: bool
    nobody: bool
    """The code runs under another user than the worker: possible when the user is root."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def make_plan(limits: Limits, namespaces: bool, isolated: bool = True) -> Plan:
    linux = sys.platform == "linux"
    readable, hidden = _interpreter() if linux else ([], [])
    return Plan(
        limits=limits,
        namespaces=namespaces,
        landlock=landlock.version() if linux and isolated else 0,
        seccomp=linux and isolated and seccomp.known_machine(),
        readable=list(readable),
        hidden=list(hidden),
        cgroups=linux and isolated and cgroups.available(),
        nobody=linux and isolated and os.geteuid() == 0 and _is_mapped(NOBODY),
    )


def _is_mapped(user: int) -> bool:
    """Whether there is such a user here: in a user namespace there may be one only."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        ranges = [[int(part) for part in line.split()] for line in file]
    return any(first <= user < first + count for first, _, count in ranges)


def python() -> str:
    """The interpreter itself, not a virtual environment's name for it."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


@functools.cache
def _interpreter() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The standard library with the shared libraries its modules need, and the packages below it that are not of it."""
    library = os.path.realpath(sysconfig.get_path("stdlib"))
    dynamic = os.path.join(os.path.realpath(sysconfig.get_config_var("DESTSHARED") or ""), "")
    command = [python(), "-s", "-S", "-P", "-c", _FIND_LIBRARIES, dynamic]
    found = subprocess.run(command, env=MINIMAL, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    shared = [path for path in found.stdout.splitlines() if not path.startswith(library + os.sep)]
    packages = [os.path.join(library, name) for name in ("site-packages", "dist-packages")]
    return (library, *shared), tuple(path for path in packages if os.path.isdir(path))


def describe_machine() -> str:
    return f"{platform.system()} {platform.release()}, {platform.machine()}"
