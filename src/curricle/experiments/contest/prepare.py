"""The contest as files: rows, problems to run, labels, statistics, card, manifest, as of any other set of programs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby, islice
from pathlib import Path

from ...data.prepare.code import PreparedCode, write_code
from ...data.prepare.tasks import CodeDataset, CodeOptions, Files, ReadSplit, Solution, SplitAccount, Task
from ...data.readers import BadRow
from ...data.schema import Where
from ...errors import RecipeError
from .problems import ContestProblem, contest_problems, problem_row
from .rows import PER_PROBLEM, about, labelled_solutions

ROWS = 4_000
_SHARE = {"test": 10, "valid": 10, "train": 1}
"""A held-out split has one row for so many of the training split."""


def prepare_contest(out: str | Path, rows: int = ROWS, seed: int = 0) -> PreparedCode:
    """Write `rows` solutions to train on into `out`, and a tenth as many of held-out problems for valid and test."""
    least = 2 * PER_PROBLEM * max(_SHARE.values())
    if rows < least:
        raise RecipeError(f"prepare contest: {rows} rows are too few for three splits; ask for {least} or more")

    def read(split: str, account: SplitAccount) -> Iterator[tuple[Where, Task | BadRow]]:
        account.sources[f"the generator with seed {seed}"] = ""
        return _tasks(split, rows // _SHARE[split], seed, account)

    def opened(files: Files, options: CodeOptions) -> ReadSplit:
        return read

    dataset = CodeDataset(
        name="contest",
        licence="that of Curricle; nothing in it was written by somebody else",
        find=lambda src: dict.fromkeys(_SHARE, ()),
        open=opened,
        notes=(f"Made by `curricle prepare contest --rows {rows} --seed {seed}`; nothing was read.",),
    )
    return write_code(dataset, Path(), Path(out), CodeOptions())


def _tasks(split: str, rows: int, seed: int, account: SplitAccount) -> Iterator[tuple[Where, Task | BadRow]]:
    solutions = islice(labelled_solutions(contest_problems(split, seed)), rows)
    for number, (problem, found) in enumerate(groupby(solutions, key=lambda one: one[0]), start=1):
        task = _task(problem, [(solution.code, solution.flaw is None) for _, solution in found])
        account.programs += len(task.solutions)
        yield Where("contest", number), task


def _task(problem: ContestProblem, found: list[tuple[str, bool]]) -> Task:
    numbers: defaultdict[bool, int] = defaultdict(int)
    solutions = []
    for code, right in found:
        solutions.append(Solution(numbers[right], code, right))
        numbers[right] += 1
    return Task(problem.name, problem.instruction, problem.examples, about(problem), solutions, problem_row(problem))
