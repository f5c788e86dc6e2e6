"""`Sandbox`: a pool of workers and the verdicts on what ran in them; `layers`: what this machine can isolate."""

from __future__ import annotations

import json
import queue
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from types import TracebackType

from ..errors import RunError
from . import verdicts
from .config import Job, Limits, PythonTests, StdinTests, Verdict
from .plan import Plan, SandboxUnavailable, describe_machine, make_plan
from .worker import Worker, WorkerEnded

LONGEST_CODE = 1 << 20
_AHEAD = 16
_MEANS_OF_FILES = 3
"""The first version of Landlock under which a file that may not be written may not be emptied either."""


@dataclass(frozen=True)
class Layer:
    """One means of isolation on this machine."""

    name: str
    active: bool
    note: str


class Sandbox:
    """Runs jobs, each in fresh processes, and judges them.

    >>> from curricle.sandbox import Job, Sandbox, StdinTests
    >>> with Sandbox(workers=1) as box:
    ...     print(*box.run([Job("sum", "print(int(input()) + 1)", StdinTests([("1", "2")]))]))  # doctest: +SKIP
    """

    def __init__(self, limits: Limits | None = None, workers: int = 2, unsafe: bool = False) -> None:
        if workers < 1:
            raise RunError(f"{workers} workers: give at least 1")
        self.limits = limits or Limits()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="sandbox")
        try:
            self._plan, self._workers = _strongest(self.limits, unsafe, workers, self._pool)
        except BaseException:
            self._pool.shutdown()
            raise
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)

    @property
    def layers(self) -> list[Layer]:
        """What isolates the code that runs here."""
        return [layer for layer in _layers_of(self._plan, "") if layer.active]

    def run(self, jobs: Iterable[Job]) -> Iterator[Verdict]:
        """Verdicts in the order of the jobs, which are taken from their iterable a little ahead."""
        pending: deque[Future[Verdict]] = deque()
        try:
            for job in jobs:
                pending.append(self._pool.submit(self._judge, job))
                if len(pending) >= _AHEAD * len(self._workers):
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()

    def _judge(self, job: Job) -> Verdict:
        refused = _unfit(job)
        if refused:
            return Verdict(job.id, "refused", refused)
        worker = self._idle.get()
        try:
            for _ in range(2):
                try:
                    return self._judge_in(worker, job)
                except WorkerEnded:
                    worker = self._replace(worker)
            return Verdict(job.id, "crashed", "it ended the worker it ran in, twice")
        finally:
            self._idle.put(worker)

    def _replace(self, ended: Worker) -> Worker:
        """A new worker in the place of one that ended or hangs."""
        ended.close()
        try:
            worker = Worker(self._plan)
        except (SandboxUnavailable, OSError) as error:
            raise RunError(
                f"a worker of the sandbox ended, and no other can be started ({error}); run the same again, with fewer "
                "workers if memory is short"
            ) from None
        self._workers[self._workers.index(ended)] = worker
        return worker

    def _judge_in(self, worker: Worker, job: Job) -> Verdict:
        if isinstance(job.tests, PythonTests):
            work = {
                "code": job.code, "tests": job.tests.code, "given": job.tests.given,
                "entry_point": job.tests.entry_point,
            }  # fmt: skip
            return verdicts.of_tests(job.id, worker.run_sample(work), self.limits)
        return self._judge_cases(job, job.tests, worker)

    def _judge_cases(self, job: Job, tests: StdinTests, worker: Worker) -> Verdict:
        """Case after case, until one fails."""
        code, seconds = job.code.encode(), 0.0
        for number, (given, wanted) in enumerate(tests.cases, 1):
            run = worker.run_program(code, given.encode())
            seconds += run.seconds
            outcome, evidence = verdicts.of_case(run, wanted, self.limits)
            if outcome != "passed":
                return Verdict(job.id, outcome, f"case {number} of {len(tests.cases)}: {evidence}", seconds)
        return Verdict(job.id, "passed", "", seconds)

    def close(self) -> None:
        """End every worker and what runs in it."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        _close(self._workers)

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def layers() -> list[Layer]:
    """What isolates code on this machine; found by starting a worker."""
    limits = Limits()
    plan = make_plan(limits, namespaces=True)
    try:
        Worker(plan).close()
        return _layers_of(plan, "")
    except (SandboxUnavailable, OSError) as error:
        return _layers_of(make_plan(limits, namespaces=False), str(error))


def _strongest(limits: Limits, unsafe: bool, number: int, pool: ThreadPoolExecutor) -> tuple[Plan, list[Worker]]:
    """The strongest isolation that works here, and workers in it."""
    plan = make_plan(limits, namespaces=True)
    try:
        return plan, _open(plan, number, pool)
    except (SandboxUnavailable, OSError) as error:
        why = str(error)
    plan = make_plan(limits, namespaces=False)
    if _isolates(plan):
        return plan, _open(plan, number, pool)
    if unsafe:
        plan = make_plan(limits, namespaces=False, isolated=False)
        return plan, _open(plan, number, pool)
    raise SandboxUnavailable(
        f"nothing here ({describe_machine()}) keeps the code that is to run from your files and network (namespaces: "
        f"{why}; Landlock: version {plan.landlock} of at least {_MEANS_OF_FILES}). Run on Linux where user namespaces "
        "are allowed, or in a container that you can afford to lose, with `unsafe=True` (--unsafe-execution)"
    )


def _open(plan: Plan, number: int, pool: ThreadPoolExecutor) -> list[Worker]:
    """That many workers, started side by side; all or none."""
    starting = [pool.submit(Worker, plan) for _ in range(number)]
    wait(starting)
    failures = [error for future in starting if (error := future.exception())]
    if failures:
        _close([future.result() for future in starting if not future.exception()])
        raise failures[0]
    return [future.result() for future in starting]


def _close(workers: list[Worker]) -> None:
    for worker in workers:
        worker.close()


def _isolates(plan: Plan) -> bool:
    return plan.namespaces or (plan.landlock >= _MEANS_OF_FILES and plan.seccomp)


def _layers_of(plan: Plan, why: str) -> list[Layer]:
    spaces = "user, mount, pid, network, ipc, uts, cgroup"
    return [
        Layer("namespaces", plan.namespaces, spaces if plan.namespaces else why),
        Layer("landlock", plan.landlock > 0, f"version {plan.landlock}" if plan.landlock else "not in this kernel"),
        Layer("seccomp", plan.seccomp, "a list of denied calls" if plan.seccomp else "unknown machine"),
        Layer("rlimits", True, "CPU, address space, file size, open files, processes, core files"),
        Layer(
            "cgroups", plan.cgroups, "memory and tasks of a worker" if plan.cgroups else "cannot be made by this user"
        ),
        Layer("other user", plan.nobody, "nobody" if plan.nobody else "the code runs as you; it has no privilege"),
    ]


def _unfit(job: Job) -> str:
    """Why a job cannot run at all."""
    if len(job.code) > LONGEST_CODE:
        return f"the code has {len(job.code)} characters; at most {LONGEST_CODE} are run"
    try:
        job.code.encode()
        json.dumps(job.code)
    except UnicodeEncodeError:
        return "the code is no valid Unicode"
    if "\0" in job.code:
        return "the code holds a NUL character"
    if isinstance(job.tests, StdinTests) and not job.tests.cases:
        return "there is no test case"
    return ""


__all__ = ["Layer", "Sandbox", "layers"]
