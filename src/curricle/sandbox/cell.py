"""The last steps of a process before code nobody trusts runs in it: it gives up for good what it does not need."""

from __future__ import annotations

import os
import resource
import signal
import sys

from . import landlock, linux, seccomp
from .plan import NOBODY, Plan

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
        self._bounds = [
            (resource.RLIMIT_AS, limits.memory_mib << 20),
            (resource.RLIMIT_FSIZE, limits.file_mib << 20),
            (resource.RLIMIT_NOFILE, 64),
            (resource.RLIMIT_NPROC, _THREADS + 4 * limits.processes),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_MEMLOCK, 0),
        ]

    def enter(self, folder: str, lasting: bool) -> None:
        """A fresh working folder; then nothing can be mounted, opened elsewhere, called or gained any more.

        `lasting`: for many runs, each of which is timed from outside, so that no sum of CPU time is bounded.
        """
        if self._plan.namespaces:
            linux.unshare(linux.NEWNS)
            linux.mount("box", folder, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, self._mount_options)
        os.chdir(folder)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for kind, amount in [*self._bounds, *([] if lasting else [(resource.RLIMIT_CPU, self._seconds)])]:
            self._bound(kind, amount)
        if self._plan.nobody:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        if sys.platform == "linux":
            self._give_up(folder)

    def _give_up(self, folder: str) -> None:
        if not self._plan.namespaces:
            linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
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
