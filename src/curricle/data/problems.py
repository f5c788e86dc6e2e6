"""Programming problems with tests: what pass@k runs, one JSON object a line.

    {"task_id": "HumanEval/0", "prompt": "def f(x):\\n", "prefix": "def f(x):\\n", "entry_point": "f",
     "tests": {"kind": "python", "code": "def check(candidate): ..."}, "reference": "    return x\\n"}
    {"task_id": "1575_A", "prompt": "Read two numbers ...", "difficulty": 1000,
     "tests": {"kind": "stdin", "cases": [{"input": "1 2\\n", "output": "3\\n"}]}, "reference": "print(...)"}

A program is `problem.program(completion)`: the prefix, then what a model wrote. The reference is a completion too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from ..errors import DataError
from ..runtime.files import atomic_file
from .readers import BadRow, json_name, read_rows
from .schema import Where

_KNOWN = ("task_id", "prompt", "tests", "reference", "entry_point", "prefix", "difficulty", "metadata")


@dataclass(frozen=True, slots=True)
class Asserts:
    """Python that runs after the program, in its namespace, and raises when the program is wrong.

    Where the problem names an `entry_point`, the code defines `check(candidate)`, which is to be called with the
    function of that name; without one, running the code is the whole test.
    """

    code: str


@dataclass(frozen=True, slots=True)
class Cases:
    """Pairs of what the program is given on standard input and what it is to print."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem. `difficulty` has the scale of its data set; a card or a generator says which."""

    task_id: str
    prompt: str
    tests: Asserts | Cases
    reference: str
    """A right solution, or empty when none is known."""
    entry_point: str | None = None
    prefix: str = ""
    """Code that stands before a completion to make a whole program (HumanEval: the prompt itself)."""
    difficulty: float | str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    def program(self, completion: str) -> str:
        return self.prefix + completion


def read_problems(path: str | Path) -> Iterator[Problem]:
    """The problems of a file in its order; a row that is none, or a second one of the same name, is an error."""
    seen: dict[str, Where] = {}
    for row in read_rows(path):
        where = Where(str(path), row.line)
        try:
            if isinstance(row.value, BadRow):
                raise row.value
            problem = problem_of_row(row.value)
        except BadRow as bad:
            raise DataError(f"{where}: {bad}; a problem has task_id, prompt, tests and reference") from bad
        if problem.task_id in seen:
            raise DataError(f"{where}: task_id `{problem.task_id}` was used at {seen[problem.task_id]} already")
        seen[problem.task_id] = where
        yield problem


def write_problems(path: str | Path, problems: Iterable[Problem]) -> int:
    """Write them, one a line; how many there were."""
    count = 0
    with atomic_file(path, "wb") as handle:
        for problem in problems:
            handle.write(problem_line(problem))
            count += 1
    return count


def problem_line(problem: Problem) -> bytes:
    """The problem as a line of JSON; what it does not have is left out."""
    tests: dict[str, Any]
    if isinstance(problem.tests, Asserts):
        tests = {"kind": "python", "code": problem.tests.code}
    else:
        tests = {"kind": "stdin", "cases": [{"input": given, "output": asked} for given, asked in problem.tests.pairs]}
    row = {"task_id": problem.task_id, "prompt": problem.prompt, "tests": tests, "reference": problem.reference}
    rest = {name: getattr(problem, name) for name in _KNOWN[4:] if getattr(problem, name) not in (None, "", {})}
    return orjson.dumps(row | rest, option=orjson.OPT_APPEND_NEWLINE)


def problem_of_row(row: dict[str, Any]) -> Problem:
    """A row as a problem; `BadRow` names what is wrong with it."""
    if unknown := sorted(set(row) - set(_KNOWN)):
        raise BadRow("unknown field", ", ".join(f"`{name}`" for name in unknown))
    for name in ("task_id", "prompt", "reference"):
        if not isinstance(row.get(name), str):
            raise BadRow(f"no text in `{name}`", f"found {json_name(row.get(name))}")
    if not row["task_id"]:
        raise BadRow("no text in `task_id`", "it is empty")
    for name in ("entry_point", "prefix"):
        if not isinstance(row.get(name), str | None):
            raise BadRow(f"no text in `{name}`", f"found {json_name(row[name])}")
    difficulty = row.get("difficulty")
    if isinstance(difficulty, bool) or not isinstance(difficulty, int | float | str | None):
        raise BadRow("`difficulty` is neither a number nor text", f"found {json_name(difficulty)}")
    if not isinstance(row.get("metadata"), dict | None):
        raise BadRow("`metadata` is no object", f"found {json_name(row['metadata'])}")
    return Problem(
        task_id=row["task_id"],
        prompt=row["prompt"],
        tests=_tests(row.get("tests")),
        reference=row["reference"],
        entry_point=row.get("entry_point"),
        prefix=row.get("prefix") or "",
        difficulty=difficulty,
        metadata=row.get("metadata") or {},
    )


def _tests(value: Any) -> Asserts | Cases:
    match value:
        case {"kind": "python", "code": str(code)}:
            return Asserts(code)
        case {"kind": "stdin", "cases": list(cases)} if cases:
            return Cases(tuple(_case(case) for case in cases))
    raise BadRow("`tests` is neither", '{"kind": "python", "code": ...} nor {"kind": "stdin", "cases": [...]}')


def _case(value: Any) -> tuple[str, str]:
    match value:
        case {"input": str(given), "output": str(asked)}:
            return given, asked
    raise BadRow("a case is no pair", '{"input": text, "output": text}')
