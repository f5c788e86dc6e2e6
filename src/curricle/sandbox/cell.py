"""The last steps of a process before code nobody trusts runs in it: it gives up for good what it does not need."""

from __future__ import annotations

import os
import resource
import signal
import sys

from . import landlock, linux, seccomp
from .plan import NOBODY, Plan

FOLDER = "/box"
"""The working folder, where files are kept in memory and vanish with the process."""
_THREADS = 16


class Cell:
    """Confines the process it is called in. What can be made ready once is made in `__init__`, before the fork."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        limits = plan.limits
        self._mount_options = f"size={limits.file_mib}m,nr_inodes=1024,mode=1777"
        self._filter = seccomp.build_filter(limits.processes > 1, plan.namespaces) if plan.seccomp else b""
        seconds, memory, size = int(limits.seconds) + 2, limits.memory_mib << 20, limits.file_mib << 20
        tasks = _THREADS + 4 * limits.processes
        self._bounds = [
            (resource.RLIMIT_CPU, seconds),
            (resource.RLIMIT_AS, memory),
            (resource.RLIMIT_FSIZE, size),
            (resource.RLIMIT_NOFILE, 64),
            (resource.RLIMIT_NPROC, tasks),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_MEMLOCK, 0),
        ]

    def enter(self, folder: str) -> None:
        """A fresh working folder; then nothing can be mounted, opened elsewhere, called or gained any more."""
        if self._plan.namespaces:
            linux.unshare(linux.NEWNS)
            linux.mount("box", folder, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, self._mount_options)
        os.chdir(folder)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._bound()
        if self._plan.nobody:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        if sys.platform == "linux":
            linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
            linux.drop_capabilities()
            linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
        if self._plan.landlock:
            readable = ["/"] if self._plan.namespaces else self._plan.readable
            landlock.restrict(self._plan.landlock, readable, [folder, "/dev/null"])
        if self._filter:
            seccomp.apply(self._filter)

    def _bound(self) -> None:
        for kind, amount in self._bounds:
            _, hard = resource.getrlimit(kind)
            allowed = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
            try:
                resource.setrlimit(kind, (allowed, allowed))
            except (ValueError, OSError):
                if self._plan.seccomp:  # macOS knows no limit of the address space; Linux has all of these
                    raise
