"""Solutions of contest problems as rows of code data, right and wrong ones in the share asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ...errors import RecipeError
from ...runtime.seeds import numpy_generator
from .grades import GRADES
from .mutations import broken, mutated
from .problems import ContestProblem, contest_problems
from .python import STYLES
from .steps import Wild
from .trees import outcome

PER_PROBLEM = 2
"""At most so many right solutions of a problem, and so many wrong ones."""


@dataclass(frozen=True)
class Solution:
    """A program, and what is wrong with it; no flaw, and it is right."""

    code: str
    flaw: str | None = None


def contest_rows(
    split: str, n: int, seed: int = 0, correct_ratio: float = 0.5, grades: Sequence[int] = GRADES
) -> list[dict[str, Any]]:
    """`n` rows; of the first m of them, for every m, floor(m * correct_ratio) are right."""
    rows: list[dict[str, Any]] = []
    numbers: Counter[tuple[str, bool]] = Counter()
    for problem, solution in islice(labelled_solutions(contest_problems(split, seed, grades), correct_ratio), n):
        right = solution.flaw is None
        rows.append(
            {
                "instruction": problem.instruction,
                "input": problem.examples,
                "output": solution.code,
                "task_id": f"{problem.name}_{'correct' if right else 'incorrect'}_{numbers[problem.name, right]}",
                "is_correct": right,
                "metadata": about(problem) | {"language": "python3"},
            }
        )
        numbers[problem.name, right] += 1
    if len(rows) < n:
        raise RecipeError(f"the contest has {len(rows):,} such solutions in {split}; {n:,} were asked for: take fewer")
    return rows


def about(problem: ContestProblem) -> dict[str, Any]:
    """What the rows of a problem say of it."""
    return {"source": "contest", "difficulty": problem.grade, "has_tests": True}


def labelled_solutions(
    problems: Iterable[ContestProblem], correct_ratio: float = 0.5
) -> Iterator[tuple[ContestProblem, Solution]]:
    """Solutions of every problem in turn, right and wrong ones as the ratio asks, until it has no more of the next."""
    number = 0
    for problem in problems:
        stock = {
            right: islice(solutions(problem), PER_PROBLEM)
            for right, solutions in ((True, right_solutions), (False, wrong_solutions))
        }
        while True:
            right = int((number + 1) * correct_ratio) > int(number * correct_ratio)
            solution = next(stock[right], None)
            if solution is None:
                break
            yield problem, solution
            number += 1


def right_solutions(problem: ContestProblem) -> Iterator[Solution]:
    """The problem's tree in every style that reads differently, those with the usual names first."""
    seen: set[str] = set()
    styles = numpy_generator(0, "contest", problem.name, "right").permutation(len(STYLES))
    for style in sorted(map(int, styles), key=lambda style: STYLES[style].names):
        code = problem.solution(problem.tree, style)
        if code not in seen:
            seen.add(code)
            yield Solution(code)


def wrong_solutions(problem: ContestProblem) -> Iterator[Solution]:
    """Flawed trees that a test tells from the right one, kinds of flaw in turn; one in eight is broken in its text."""
    chance = numpy_generator(0, "contest", problem.name, "wrong")
    flawed = list(mutated(problem.tree))
    seen: set[str] = set()
    by_chance = (flawed[int(place)] for place in chance.permutation(len(flawed)))
    for flaw, tree in by_chance:
        style = int(chance.integers(len(STYLES) // 2))
        if chance.integers(8) == 0:
            texts = list(broken(problem.solution(problem.tree, style), problem.form))
            what, code = texts[int(chance.integers(len(texts)))]
            if code not in seen:
                seen.add(code)
                yield Solution(code, what)
        if not _shows(problem, tree):
            continue
        code = problem.solution(tree, style)
        if code not in seen:
            seen.add(code)
            yield Solution(code, flaw)
    yield from (Solution(code, what) for what, code in broken(problem.reference, problem.form) if code not in seen)


def _shows(problem: ContestProblem, tree: Any) -> bool:
    try:
        return problem.tells_apart(tuple(outcome(tree, value) for value in problem.inputs))
    except Wild:
        return False
