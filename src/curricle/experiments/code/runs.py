"""Programs run in the sandbox, each verdict written as it comes; a killed try goes on with those that are left.

    {"task_id": "HumanEval/0", "sample": 0, "outcome": "passed", "evidence": "", "seconds": 0.01, "rule": "...", ...}

`run` names the program, its tests, the limits, the Python and whether it was isolated: a verdict that is there stands
for the same five only.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import orjson

from ...data.problems import Asserts, Problem
from ...errors import DataError
from ...evaluation.config import PassAtK
from ...evaluation.programs import Extracted, extract, helpers
from ...runtime.files import atomic_file
from ...runtime.fingerprint import fingerprint
from ...runtime.logs import JsonLog
from ...runtime.progress import say, track
from ...sandbox import Job, Limits, PythonTests, Sandbox, StdinTests
from .answers import Completion


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of one completion."""

    task_id: str
    sample: int
    outcome: str
    evidence: str
    seconds: float
    rule: str
    """How the completion became a program."""
    run: str

    @property
    def passed(self) -> bool:
        return self.outcome == "passed"


@dataclass(frozen=True)
class Bounds:
    """How programs are run."""

    limits: Limits
    workers: int | None = None
    """Programs at once; by default one for each core."""
    unsafe: bool = False
    """Run even where files and network cannot be kept from the programs."""

    def sandbox(self) -> Sandbox:
        return Sandbox(self.limits, self.workers or os.cpu_count() or 1, self.unsafe)

    @cached_property
    def layers(self) -> list[str]:
        """What keeps programs from files and network here. Where nothing does, this is the error that says so."""
        with Sandbox(self.limits, 1, self.unsafe) as box:
            return [f"{layer.name}: {layer.note}" for layer in box.layers]

    def circumstances(self) -> list[object]:
        """What a verdict depends on beside the program and its tests. With `unsafe` isolation may be there or not."""
        return [asdict(self.limits), platform.python_version(), self.layers if self.unsafe else "isolated"]


def bounds_of(entry: PassAtK, workers: int | None = None, unsafe: bool = False) -> Bounds:
    return Bounds(Limits(seconds=entry.seconds, memory_mib=entry.memory_mib), workers, unsafe)


def tests_of(problem: Problem) -> PythonTests | StdinTests:
    """The tests as the sandbox takes them."""
    if isinstance(problem.tests, Asserts):
        return PythonTests(problem.tests.code, problem.entry_point, helpers(problem))
    return StdinTests(problem.tests.pairs)


def judge(
    problems: Mapping[str, Problem], completions: Sequence[Completion], bounds: Bounds, path: Path | None = None
) -> list[Judged]:
    """A verdict on every completion, in their order."""
    programs = [_program(problems[one.task_id], one) for one in completions]
    circumstances = bounds.circumstances()
    names = [
        fingerprint(found.program, _tested(problems[one.task_id]), circumstances)
        for one, found in zip(completions, programs, strict=True)
    ]
    done = _found(path, completions, names) if path is not None else {}
    todo = [i for i in range(len(completions)) if i not in done]
    if todo:
        log = None if path is None else JsonLog(path)
        try:
            for judged, place in _verdicts(problems, completions, programs, names, todo, bounds):
                done[place] = judged
                if log is not None:
                    log.append(asdict(judged))
        finally:
            if log is not None:
                log.close()
    verdicts = [done[i] for i in range(len(completions))]
    if path is not None:
        _write(path, verdicts)
    return verdicts


def _program(problem: Problem, one: Completion) -> Extracted:
    return Extracted(one.text, "whole program") if one.whole else extract(problem, one.text, one.style)


def _tested(problem: Problem) -> list[object]:
    return [asdict(problem.tests), problem.entry_point, problem.prefix]


def _verdicts(
    problems: Mapping[str, Problem],
    completions: Sequence[Completion],
    programs: Sequence[Extracted],
    names: Sequence[str],
    todo: Sequence[int],
    bounds: Bounds,
) -> Iterator[tuple[Judged, int]]:
    jobs = (Job(str(i), programs[i].program, tests_of(problems[completions[i].task_id])) for i in todo)
    with bounds.sandbox() as box:
        for verdict in track(box.run(jobs), "running programs", total=len(todo)):
            i = int(verdict.id)
            one = completions[i]
            yield (
                Judged(
                    one.task_id,
                    one.sample,
                    verdict.outcome,
                    verdict.evidence,
                    round(verdict.seconds, 4),
                    programs[i].rule,
                    names[i],
                ),
                i,
            )


def _found(path: Path, completions: Sequence[Completion], names: Sequence[str]) -> dict[int, Judged]:
    """The verdicts that stand, by the place of their completion; the file is left with these, in whole lines."""
    if not path.exists():
        return {}
    lines = path.read_bytes().split(b"\n")[:-1]  # a kill may have left the last one half written
    rows = dict(_row(path, number, line) for number, line in enumerate(lines, 1))
    places = {(one.task_id, one.sample): i for i, one in enumerate(completions)}
    done = {places[key]: row for key, row in rows.items() if key in places and row.run == names[places[key]]}
    if done and len(done) < len(completions):
        say(f"{path}: {len(done):,} of {len(completions):,} verdicts are there, going on with the rest")
    if rows and not done:
        say(f"{path}: verdicts on other programs, or by other limits, Python or isolation; they are made anew")
    _write(path, list(done.values()))
    return done


def _row(path: Path, number: int, line: bytes) -> tuple[tuple[str, int], Judged]:
    try:
        row = Judged(**orjson.loads(line))
        return (str(row.task_id), int(row.sample)), row
    except (ValueError, TypeError):
        raise DataError(
            f"{path}:{number}: this line is damaged and no verdict; remove it, and its program is run again"
        ) from None


def _write(path: Path, verdicts: Sequence[Judged]) -> None:
    with atomic_file(path, "wb") as handle:
        for judged in verdicts:
            handle.write(orjson.dumps(asdict(judged), option=orjson.OPT_APPEND_NEWLINE))
