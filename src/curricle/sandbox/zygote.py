"""The worker inside the sandbox: an interpreter that is ready, and forks a process for each run.

It holds no code and no tests: those come through files it hands on unread. It keeps what privilege it needs to make
namespaces, inside a user namespace where that privilege is worth nothing outside.

    judge (the user's process)  ── "P", files ──>  zygote  ── fork ──>  process of the sample
                                                           └─ fork ──>  process of the tests
    judge                       <── end states ──  zygote  <── wait ──┘
    judge                       ── any byte: kill ──>
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable
from typing import Any

from . import linux
from .cell import FOLDER, Cell
from .plan import Plan
from .protocol import KILL, PROGRAM
from .root import build_root
from .solution import run_program, serve
from .testing import judge

_COMMON = (
    "abc array bisect cmath collections contextlib copy dataclasses datetime decimal enum fractions functools hashlib "
    "heapq io itertools math numbers operator queue random re statistics string struct threading time typing"
)
"""What solutions import most: loaded once, here."""


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    plan = Plan.from_json(sys.argv[2])
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
        os.environ.clear()
        zygote = Zygote(control, plan, namespace)
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
    def __init__(self, control: socket.socket, plan: Plan, namespace: int) -> None:
        self._control, self._plan, self._cell = control, plan, Cell(plan)
        self._namespace = namespace  # the worker's own pid namespace
        self._alarm, end = os.pipe()
        os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(end, warn_on_full_buffer=False)
        gc.collect()
        gc.disable()
        gc.freeze()

    def run(self) -> None:
        """One job at a time, until the judge closes its end."""
        while True:
            kind, files, _, _ = socket.recv_fds(self._control, 1, 4)
            if not kind:
                os._exit(0)
            if kind == KILL:  # it came as the job ended
                continue
            folder = FOLDER if self._plan.namespaces else tempfile.mkdtemp(prefix="curricle-box-")
            if not self._plan.namespaces and self._plan.nobody:
                os.chmod(folder, 0o777)
            children = self._start(kind, files, folder)
            for fd in files:
                os.close(fd)
            ends = self._wait(children)
            if not self._plan.namespaces:
                shutil.rmtree(folder, ignore_errors=True)
            self._control.sendall(json.dumps({"ends": ends}).encode() + b"\n")

    def _start(self, kind: bytes, files: list[int], folder: str) -> dict[int, str]:
        """The processes of one job by their ids."""
        if kind == PROGRAM:
            return {self._fork(lambda: _program(files), files, folder): "sample"}
        ours, theirs = socket.socketpair()
        tests = self._fork(lambda: _tests(files, ours.fileno()), [*files, ours.fileno()], folder)
        sample = self._fork(lambda: serve(theirs.fileno()), [theirs.fileno()], folder)
        ours.close()
        theirs.close()
        return {tests: "tests", sample: "sample"}

    def _fork(self, body: Callable[[], None], keep: list[int], folder: str) -> int:
        if self._plan.namespaces:  # back to the own namespace, from which one more can be made for the next child
            linux.call("setns", self._namespace, linux.NEWPID)
            linux.unshare(linux.NEWPID)
        child = os.fork()
        if child:
            return child
        try:
            if not self._plan.namespaces:
                os.setsid()
            _only(keep)
            self._cell.enter(folder)
            gc.enable()
            body()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(120)

    def _wait(self, children: dict[int, str]) -> dict[str, Any]:
        """Until all have ended: once the tests have, nothing more is asked of the sample."""
        ends: dict[str, Any] = {}
        while len(ends) < len(children):
            ready, _, _ = select.select([self._control.fileno(), self._alarm], [], [])
            if self._control.fileno() in ready:
                if not self._control.recv(1):
                    os._exit(0)
                self._kill(children, ends)
            if self._alarm in ready:
                os.read(self._alarm, 512)
            for pid, role in children.items():
                if role in ends:
                    continue
                done, status, used = os.wait4(pid, os.WNOHANG)
                if done:
                    self._kill_group(pid)
                    ends[role] = [os.waitstatus_to_exitcode(status), used.ru_maxrss, used.ru_utime + used.ru_stime]
                    if role == "tests":
                        self._kill(children, ends)
        return ends

    def _kill(self, children: dict[int, str], ends: dict[str, Any]) -> None:
        for pid, role in children.items():
            if role not in ends:
                os.kill(pid, signal.SIGKILL)  # as process 1 of its namespace it takes all its descendants along
                self._kill_group(pid)

    def _kill_group(self, leader: int) -> None:
        """Where there is no pid namespace: what the process has started and left behind."""
        if not self._plan.namespaces:
            with contextlib.suppress(OSError):
                os.killpg(leader, signal.SIGKILL)


def _only(keep: list[int]) -> None:
    """Close every file but the standard three and those this process is for."""
    last = 2
    for fd in sorted(keep):
        os.closerange(last + 1, fd)
        last = fd
    os.closerange(last + 1, 1 << 16)


def _program(files: list[int]) -> None:
    code, inputs, output, status = files
    text = _read_all(code)
    os.dup2(inputs, 0)
    os.dup2(output, 1)
    for fd in (code, inputs, output):
        os.close(fd)
    run_program(text, status)


def _tests(files: list[int], channel: int) -> None:
    work, verdict = files
    found = judge(json.loads(_read_all(work)), channel)
    os.write(verdict, json.dumps(found).encode())


def _read_all(fd: int) -> str:
    with os.fdopen(os.dup(fd), "rb") as file:
        file.seek(0)
        return file.read().decode("utf-8", "surrogatepass")
