"""The worker inside the sandbox: an interpreter that is ready, and forks a process for each run.

It holds no code and no tests: those come through files it hands on unread. It keeps what privilege it needs to make
namespaces, inside a user namespace where that privilege is worth nothing outside.

    user's process ── program + files ──>  zygote ── fork ──> process of the program          one for each run
                   ── sample + channel ─>         ── fork ──> process of the sample           one for each run
                   ── examiner + channel >        ── fork ──> process of the tests            one for many runs
                   ── kill ─────────────>
                   <── how it ended ─────
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import select
import signal
import site
import socket
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING

from . import linux
from .cell import FOLDER, Cell
from .examiner import examine_all
from .protocol import EXAMINER, KILL, PROGRAM
from .root import build_root
from .solution import run_program, serve

if TYPE_CHECKING:
    from .plan import Plan

_COMMON = (
    "abc array bisect cmath collections copy enum functools heapq io itertools math operator random re string struct "
    "time typing"
)
"""What solutions import most and is small, loaded once, here: every process pays for what its worker holds."""


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    # no `Plan`: dataclasses would make the worker, and so every fork, a third larger
    plan: Plan = json.loads(sys.argv[2], object_hook=lambda part: SimpleNamespace(**part))
    scratch = sys.argv[3]
    sys.argv[:] = sys.orig_argv[:] = [""]
    sys.path[:] = [path for path in sys.path if path.startswith(sys.base_prefix)]
    namespace = -1
    try:
        if plan.namespaces:
            _own_namespaces(control)
            namespace = os.open("/proc/self/ns/pid", os.O_RDONLY)
            build_root(plan.readable, plan.hidden, FOLDER)
            linux.drop_bounding_set()
        for name in _COMMON.split():
            __import__(name)
        site.setquit()  # `exit` and `quit`, which many programs end with
        random.seed(0)  # every process begins with the same draws, so that a verdict can be repeated
        os.environ.clear()
        zygote = Zygote(control, plan, namespace, scratch)
    except OSError as error:
        control.sendall(json.dumps({"error": str(error)}).encode() + b"\n")
        return
    control.sendall(b'{"ready": true}\n')
    zygote.run()


def _own_namespaces(control: socket.socket) -> None:
    """Become process 1 of new namespaces. The judge writes the user map: only from outside can two users be mapped."""
    linux.unshare(
        linux.NEWUSER | linux.NEWNS | linux.NEWPID | linux.NEWNET | linux.NEWIPC | linux.NEWUTS | linux.NEWCGROUP
    )
    control.sendall(b'{"map": true}\n')
    if control.recv(1) != b"m":
        raise OSError("the judge could not map users")
    child = os.fork()
    if child:  # outside the new pid namespace: waits, so that the judge has a process to end
        control.close()
        os.waitpid(child, 0)
        os._exit(0)
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()


class Zygote:
    """One run at a time, until the user's process closes its end."""

    def __init__(self, control: socket.socket, plan: Plan, namespace: int, scratch: str) -> None:
        self._control, self._plan, self._cell = control, plan, Cell(plan)
        self._namespace = namespace  # the worker's own pid namespace
        self._scratch = scratch  # where folders are made if there is no mount namespace for them
        if scratch and plan.nobody:
            os.chmod(scratch, 0o711)
        self._running = self._examiner = 0
        self._folders: dict[int, str] = {}
        self._alarm, end = os.pipe()
        os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(end, warn_on_full_buffer=False)
        gc.collect()
        gc.disable()
        gc.freeze()

    def run(self) -> None:
        control = self._control.fileno()
        while True:
            ready, _, _ = select.select([control, self._alarm], [], [])
            if self._alarm in ready:
                os.read(self._alarm, 512)
                self._reap()
            if control in ready:
                kind, files, _, _ = socket.recv_fds(self._control, 1, 4)
                if not kind:
                    os._exit(0)
                self._obey(kind, files)
                for fd in files:
                    os.close(fd)

    def _obey(self, kind: bytes, files: list[int]) -> None:
        if kind == KILL:
            if self._running:
                self._kill(self._running)
        elif kind == EXAMINER:
            if self._examiner:
                self._kill(self._examiner)
            self._examiner = self._fork(lambda: examine_all(files[0]), files, lasting=True)
        elif kind == PROGRAM:
            self._running = self._fork(lambda: run_program(files), files)
        else:
            self._running = self._fork(lambda: serve(files[0]), files)

    def _fork(self, body: Callable[[], None], keep: list[int], lasting: bool = False) -> int:
        folder = FOLDER
        if self._plan.namespaces:  # back to the own namespace, from which one more can be made for the next child
            linux.call("setns", self._namespace, linux.NEWPID)
            linux.unshare(linux.NEWPID)
        else:
            import tempfile

            folder = tempfile.mkdtemp(dir=self._scratch)
            os.chmod(folder, 0o777)
        # The C library's fork: there is one thread, so nothing of the interpreter needs repair in the child, which
        # without what os.fork does there touches half the memory. It also finds `random` always in the same state.
        child = linux.call("fork")
        if child:
            self._folders[child] = folder
            return child
        try:
            os.setsid()  # a signal to the group crosses pid namespaces: it must reach no other process of the worker
            _only([*keep, *self._cell.files])
            self._cell.enter(folder, lasting)
            body()
        finally:
            os._exit(120)

    def _reap(self) -> None:
        while True:
            try:
                pid, status, used = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if not self._plan.namespaces:
                self._kill_group(pid)
                import shutil

                shutil.rmtree(self._folders[pid], ignore_errors=True)
            del self._folders[pid]
            if pid == self._running:
                self._running = 0
                end = [os.waitstatus_to_exitcode(status), used.ru_maxrss]
                self._control.sendall(json.dumps({"end": end}).encode() + b"\n")
            elif pid == self._examiner:
                self._examiner = 0

    def _kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)  # as process 1 of its namespace it takes all its descendants along
        if not self._plan.namespaces:
            self._kill_group(pid)

    def _kill_group(self, leader: int) -> None:
        """Where there is no pid namespace: what the process has started and left behind."""
        with contextlib.suppress(OSError):
            os.killpg(leader, signal.SIGKILL)


def _only(keep: list[int]) -> None:
    """Close every file but the standard three and those this process is for."""
    last = 2
    for fd in sorted(keep):
        os.closerange(last + 1, fd)
        last = fd
    os.closerange(last + 1, 1 << 16)
