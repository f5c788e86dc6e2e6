"""The user's end of one worker: starts it, hands it code, waits within the limit, tells how it ended."""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cgroups import Groups
from .channel import Channel, Closed
from .linux import NOBODY
from .plan import MINIMAL, Plan, SandboxUnavailable, python
from .protocol import EXAMINE, EXAMINER, KILL, PROGRAM, SAMPLE

_SOURCE = str(Path(__file__).resolve().parents[2])
_BOOT = "import sys; sys.path.insert(0, sys.argv.pop(1)); from curricle.sandbox.zygote import main; main()"
_START_SECONDS = 30.0
_KILL_SECONDS = 10.0
_GRACE_SECONDS = 1.0
_EXAMINED_MOST = 256
_SEALS = 0x1 | 0x2 | 0x4 | 0x8  # F_SEAL_SEAL, _SHRINK, _GROW, _WRITE


@dataclass(frozen=True)
class Run:
    """What came of one run."""

    said: bytes
    """Standard output of a program; the examiner's verdict on a sample."""
    told: bytes
    """What a program's process says it died of."""
    end: int
    """Exit status of the process of the code, or minus the signal that ended it."""
    late: bool
    """It was ended at the time limit."""
    too_long: bool
    """It was ended because it printed too much."""
    seconds: float


class WorkerEnded(Exception):
    """The worker is gone or hangs, and what ran in it with it."""


class Worker:
    """One process that forks the others. Not for two threads at once."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._control, theirs = socket.socketpair()
        self._examiner: socket.socket | None = None
        self._examined = 0
        self._groups = Groups(plan.limits) if plan.cgroups else None
        self._scratch = None if plan.namespaces else tempfile.mkdtemp(prefix="curricle-box-")
        more = [str(theirs.fileno()), plan.to_json(), self._scratch or ""]
        command = [python(), "-s", "-S", "-P", "-c", _BOOT, _SOURCE, *more]
        null = subprocess.DEVNULL
        with theirs:
            self._process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], env=MINIMAL, stdin=null, stdout=null, stderr=null,
                cwd="/", start_new_session=True,
            )  # fmt: skip
        try:
            if self._groups is not None:
                self._groups.add(self._process.pid)
            self._greet()
        except BaseException:
            self.close()
            raise

    def _greet(self) -> None:
        limit = time.monotonic() + _START_SECONDS
        said = self._line(limit)
        if "map" in said:
            _map_users(self._process.pid, self._plan.nobody)
            self._control.sendall(b"m")
            said = self._line(limit)
        if "ready" not in said:
            raise SandboxUnavailable(said.get("error", "the worker did not start"))

    def run_sample(self, work: dict[str, Any]) -> Run:
        """A sample in a process of its own, its tests in the examiner's, and a channel between the two."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            examiner = self._examine(work, theirs)
            start = time.monotonic()
            self._tell(SAMPLE, ours.fileno())
        late = not _readable(examiner, start + self._plan.limits.seconds)
        self._tell(KILL)
        end = self._end()
        said = b""
        if _readable(examiner, time.monotonic() + _GRACE_SECONDS):
            try:
                said = json.dumps(Channel(examiner.fileno()).receive()).encode()
            except Closed:
                self._close_examiner()
        else:  # the tests themselves go on
            self._close_examiner()
        return Run(said, b"", end, late, False, time.monotonic() - start)

    def _examine(self, work: dict[str, Any], sample: socket.socket) -> socket.socket:
        """Hand a job to the examiner; to a new one if it has died since the last."""
        for _ in range(2):
            examiner = self._open_examiner()
            try:
                socket.send_fds(examiner, [EXAMINE], [sample.fileno()])
                Channel(examiner.fileno()).send(work)
                return examiner
            except (OSError, Closed):
                self._close_examiner()
        raise WorkerEnded

    def _open_examiner(self) -> socket.socket:
        """The process of the tests; a new one now and then, so that no test's traces pile up."""
        if self._examiner is not None and self._examined >= _EXAMINED_MOST:
            self._close_examiner()
        if self._examiner is None:
            self._examiner, theirs = socket.socketpair()
            timeout = struct.pack("ll", int(_KILL_SECONDS), 0)
            self._examiner.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
            self._examiner.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
            with theirs:
                self._tell(EXAMINER, theirs.fileno())
            self._examined = 0
        self._examined += 1
        return self._examiner

    def _close_examiner(self) -> None:
        """The next one takes its place; the worker then ends this one."""
        if self._examiner is not None:
            self._examiner.close()
            self._examiner = None

    def run_program(self, code: bytes, inputs: bytes) -> Run:
        """A program with its standard input."""
        start = time.monotonic()
        output, output_end = os.pipe()
        status, status_end = os.pipe()
        try:
            with _in_memory(code) as source, _in_memory(inputs) as given:
                self._tell(PROGRAM, source.fileno(), given.fileno(), output_end, status_end)
            os.close(output_end)
            os.close(status_end)
            output_end = status_end = -1
            kept, end, late, too_long = self._follow(output, start + self._plan.limits.seconds)
            told = b"" if late or too_long else _rest(status, 4096)
        finally:
            for fd in (output, status, output_end, status_end):
                if fd >= 0:
                    os.close(fd)
        return Run(kept, told, end, late, too_long, time.monotonic() - start)

    def _follow(self, output: int, limit: float) -> tuple[bytes, int, bool, bool]:
        """Collect output until the process has ended; end it at the limit."""
        kept, most = bytearray(), self._plan.limits.output_kib << 10
        late = too_long = False
        waiting = [output, self._control.fileno()]
        while not (late or too_long):
            ready, _, _ = select.select(waiting, [], [], max(limit - time.monotonic(), 0))
            if output in ready:
                part = os.read(output, 1 << 16)
                kept += part
                if not part:
                    waiting.remove(output)
            if self._control.fileno() in ready:
                break
            too_long = len(kept) > most
            late = limit <= time.monotonic()
        if late or too_long:
            self._tell(KILL)
        end = self._end()
        if not late and not too_long:
            kept += _rest(output, most + 1 - len(kept))
            too_long = len(kept) > most
        return bytes(kept), end, late, too_long

    def _tell(self, letter: bytes, *files: int) -> None:
        try:
            socket.send_fds(self._control, [letter], files)
        except OSError:
            raise WorkerEnded from None

    def _end(self) -> int:
        """How the process ended, from the worker, which waits for it."""
        said = self._line(time.monotonic() + _KILL_SECONDS)
        if "end" not in said:
            raise WorkerEnded
        return int(said["end"][0])

    def _line(self, limit: float) -> dict[str, Any]:
        """The worker's next message; it is ours, and runs no code of the samples."""
        said = bytearray()
        while not said.endswith(b"\n"):
            ready, _, _ = select.select([self._control], [], [], max(limit - time.monotonic(), 0))
            try:
                part = self._control.recv(4096) if ready else b""
            except ConnectionError:
                part = b""
            if not part:
                return {}
            said += part
        found: dict[str, Any] = json.loads(said)
        return found

    def close(self) -> None:
        """End the worker, and with it everything inside."""
        self._close_examiner()
        self._control.close()
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        if self._groups is not None:
            self._groups.close()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)


def _readable(source: socket.socket, limit: float) -> bool:
    return bool(select.select([source], [], [], max(limit - time.monotonic(), 0))[0])


def _rest(fd: int, most: int) -> bytes:
    """What a pipe still holds."""
    os.set_blocking(fd, False)
    found = bytearray()
    try:
        while len(found) < most and (part := os.read(fd, 1 << 16)):
            found += part
    except BlockingIOError:
        pass
    return bytes(found)


def _map_users(pid: int, nobody: bool) -> None:
    """Who the users inside are outside. Root: itself for the worker, nobody for the code. Others: themselves."""
    try:
        if nobody:
            for kind in ("uid_map", "gid_map"):
                Path(f"/proc/{pid}/{kind}").write_text(f"0 0 1\n{NOBODY} {NOBODY} 1\n", encoding="ascii")
        else:
            Path(f"/proc/{pid}/setgroups").write_text("deny", encoding="ascii")
            Path(f"/proc/{pid}/uid_map").write_text(f"{NOBODY} {os.geteuid()} 1\n", encoding="ascii")
            Path(f"/proc/{pid}/gid_map").write_text(f"{NOBODY} {os.getegid()} 1\n", encoding="ascii")
    except OSError as error:
        raise SandboxUnavailable(f"users cannot be mapped: {error}") from None


def _in_memory(data: bytes) -> Any:
    """A file without a name that holds `data` and cannot be changed."""
    if not hasattr(os, "memfd_create"):
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        file.write(data)
        file.flush()
        file.seek(0)
        return file
    fd = os.memfd_create("curricle", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    kept = os.fdopen(fd, "w+b")
    kept.write(data)
    kept.flush()
    kept.seek(0)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    return kept
