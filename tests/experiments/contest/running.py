"""Labels against verdicts: solutions run in the sandbox."""

from __future__ import annotations

from collections.abc import Sequence

from curricle.data.problems import Asserts
from curricle.experiments.contest import ContestProblem, problem_row
from curricle.experiments.contest.rows import Solution
from curricle.sandbox import Job, PythonTests, Sandbox, StdinTests


def contradicted(solutions: Sequence[tuple[ContestProblem, Solution]], workers: int) -> list[str]:
    """The solutions whose verdict is not what their label says, as text."""
    jobs = []
    for number, (problem, solution) in enumerate(solutions):
        row = problem_row(problem)
        if isinstance(row.tests, Asserts):
            tests: PythonTests | StdinTests = PythonTests(row.tests.code, row.entry_point)
        else:
            tests = StdinTests(row.tests.pairs)
        jobs.append(Job(str(number), solution.code, tests))
    with Sandbox(workers=workers) as box:
        verdicts = {int(verdict.id): verdict for verdict in box.run(jobs)}
    assert len(verdicts) == len(solutions)
    return [
        f"{problem.name} {solution.flaw}: {verdicts[number]}\n{solution.code}"
        for number, (problem, solution) in enumerate(solutions)
        if verdicts[number].passed != (solution.flaw is None) or verdicts[number].outcome in ("timeout", "refused")
    ]
