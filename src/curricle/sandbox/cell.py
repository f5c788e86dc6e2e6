"""The last steps of a process before code nobody trusts runs in it: it gives up for good what it does not need."""

from __future__ import annotations

import _signal  # `signal` itself looks every number up in an enumeration: a quarter of a millisecond a process
import os
import resource
import sys
from typing import TYPE_CHECKING

from . import landlock, linux, seccomp

if TYPE_CHECKING:
    from .plan import Plan

BOXES = "/box"
FOLDER = BOXES + "/own"
"""The working folder, where files are kept in memory and vanish with the process."""
_THREADS = 16


class Cell:
    """Confines the process it is called in. What can be made ready once is made in `__init__`, before the fork."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        limits = plan.limits
        self._mount_options = f"size={limits.file_mib}m,nr_inodes=1024,mode=1777"
        self._filter = seccomp.Filter(limits.processes > 1, plan.namespaces) if plan.seccomp else None
        self._rules = landlock.Rules(plan.landlock, ["/"], [BOXES, "/dev/null"]) if plan.namespaces else None
        self.files = [self._rules.file] if self._rules else []
        """What the process to be confined must have open."""
        self._seconds = int(limits.seconds) + 2
        self._processes = _THREADS + 4 * limits.processes
        for kind, amount in (  # these bind the worker as well, and all it forks
            (resource.RLIMIT_AS, limits.memory_mib << 20),
            (resource.RLIMIT_FSIZE, limits.file_mib << 20),
            (resource.RLIMIT_NOFILE, 64),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_MEMLOCK, 0),
        ):
            self._bound(kind, amount)

    def enter(self, folder: str, lasting: bool) -> None:
        """A fresh working folder; then nothing can be mounted, opened elsewhere, called or gained any more.

        `lasting`: for many runs, each of which is timed from outside, so that no sum of CPU time is bounded.
        """
        if self._plan.namespaces:
            linux.unshare(linux.NEWNS)
            linux.mount("box", folder, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, self._mount_options)
        os.chdir(folder)
        _signal.set_wakeup_fd(-1)
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        self._bound(resource.RLIMIT_NPROC, self._processes)  # without namespaces it counts all of the user's
        if not lasting:
            self._bound(resource.RLIMIT_CPU, self._seconds)
        if self._plan.nobody:
            os.setgroups([])
            os.setresgid(linux.NOBODY, linux.NOBODY, linux.NOBODY)
            os.setresuid(linux.NOBODY, linux.NOBODY, linux.NOBODY)
        if sys.platform == "linux":
            self._give_up(folder)

    def _give_up(self, folder: str) -> None:
        if not self._plan.namespaces:
            linux.prctl(linux.PR_SET_PDEATHSIG, _signal.SIGKILL)
        if not self._plan.nobody:  # changing from root to another user has done it
            linux.drop_capabilities()
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
        if self._rules is None and self._plan.landlock:
            self._rules = landlock.Rules(self._plan.landlock, self._plan.readable, [folder, "/dev/null"])
        if self._rules is not None:
            self._rules.apply()
        if self._filter is not None:
            self._filter.apply()

    def _bound(self, kind: int, amount: int) -> None:
        _, hard = resource.getrlimit(kind)
        allowed = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
        try:
            resource.setrlimit(kind, (allowed, allowed))
        except (ValueError, OSError):
            if self._plan.seccomp:  # macOS knows no limit of the address space; Linux has all of these
                raise
