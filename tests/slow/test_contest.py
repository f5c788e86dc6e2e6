"""Every solution of three hundred contest problems, run: no label is contradicted."""

from __future__ import annotations

from itertools import islice

import pytest

from curricle.experiments.contest import SPLITS, contest_problems
from curricle.experiments.contest.rows import right_solutions, wrong_solutions
from experiments.contest.running import contradicted

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("split", SPLITS)
def test_labels_hold(split: str) -> None:
    solutions = [
        (problem, solution)
        for problem in islice(contest_problems(split, seed=3), 100)
        for solution in (*right_solutions(problem), *wrong_solutions(problem))
    ]
    assert len(solutions) > 1_000
    assert contradicted(solutions, workers=2) == []
