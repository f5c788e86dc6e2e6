"""What is run, within which bounds, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from ..errors import RecipeError

Outcome = Literal["passed", "failed", "timeout", "memory", "crashed", "refused"]


@dataclass(frozen=True)
class Limits:
    """Bounds of one run: all asserts of `PythonTests` together, or one case of `StdinTests`."""

    seconds: float = 3.0
    """Wall time; CPU time is bounded a little above it."""
    memory_mib: int = 512
    """Address space of a process; of all together where cgroups are writable."""
    processes: int = 1
    """Processes at once. With 1 the code cannot fork; threads it may have, up to 16."""
    file_mib: int = 4
    """Size of the working folder, which lives in memory, and of any file in it."""
    output_kib: int = 64
    """Standard output kept and compared; more is a failure."""

    def __post_init__(self) -> None:
        for name in ("seconds", "memory_mib", "processes", "file_mib", "output_kib"):
            if not getattr(self, name) > 0:
                raise RecipeError(f"limit `{name}` is {getattr(self, name)}: give a number above 0")
        if self.memory_mib < 64:
            raise RecipeError(f"limit `memory_mib` is {self.memory_mib}: the interpreter itself needs 64 MiB")


@dataclass(frozen=True)
class PythonTests:
    """Python code with asserts, as in HumanEval and MBPP. It runs in a process of its own and calls the sample's
    functions from there. A `check` function is called with the entry point, unless the tests do so themselves."""

    code: str
    entry_point: str | None = None
    """The function under test: tests that use this name get the sample's, whatever else has it."""
    given: str = ""
    """Code the tests may rely on and the sample may not redefine: the problem's prompt with its helper functions."""


@dataclass(frozen=True)
class StdinTests:
    """A program is run once for each case, with `input` at its standard input; its output must equal `output` but for
    white space at the end of lines and of the whole."""

    cases: Sequence[tuple[str, str]]
    """(input, output) of each case."""


@dataclass(frozen=True)
class Job:
    id: str
    code: str
    tests: PythonTests | StdinTests


@dataclass(frozen=True)
class Verdict:
    id: str
    outcome: Outcome
    evidence: str = ""
    """One line: the exception, the assertion with the value it got, the first output that differs, the limit met."""
    seconds: float = field(default=0.0, compare=False)

    @property
    def passed(self) -> bool:
        return self.outcome == "passed"
