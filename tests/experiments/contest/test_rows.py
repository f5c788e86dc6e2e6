"""Solutions as rows: right and wrong ones as asked, told apart by running them in the sandbox."""

from __future__ import annotations

import re
from collections import Counter
from itertools import islice

import pytest

from curricle.data.code_rows import check_row, problem_of
from curricle.errors import RecipeError
from curricle.experiments.contest import contest_problems, contest_rows
from curricle.experiments.contest.rows import PER_PROBLEM, right_solutions, wrong_solutions
from experiments.contest.running import contradicted


def test_rows_follow_from_split_number_and_seed() -> None:
    rows = contest_rows("train", 60)
    assert contest_rows("train", 60) == rows
    assert contest_rows("train", 25) == rows[:25]
    assert contest_rows("train", 60, seed=1) != rows


@pytest.mark.parametrize("ratio", [0.0, 0.25, 0.5, 1.0])
def test_right_and_wrong_ones_in_the_share_asked_for(ratio: float) -> None:
    rows = contest_rows("train", 80, correct_ratio=ratio)
    for m in (1, 7, 40, 80):
        assert sum(row["is_correct"] for row in rows[:m]) == int(m * ratio)
    counts = Counter((problem_of(row["task_id"]), row["is_correct"]) for row in rows)
    assert max(counts.values()) <= PER_PROBLEM


def test_rows_are_code_rows_and_their_ids_number_the_solutions() -> None:
    rows = contest_rows("train", 120)
    numbers: Counter[str] = Counter()
    for row in rows:
        check_row(row)
        found = re.fullmatch(r"(contest_\d\d_[0-9a-f]{12}_(?:in)?correct)_(\d)", row["task_id"])
        assert found is not None
        assert int(found[2]) == numbers[found[1]]
        numbers[found[1]] += 1
    assert len({row["task_id"] for row in rows}) == 120
    assert len({(row["instruction"], row["output"]) for row in rows}) == 120


def test_every_label_holds_when_it_is_run() -> None:
    solutions = [
        (problem, solution)
        for problem in islice(contest_problems("train"), 22)
        for solution in (*islice(right_solutions(problem), 2), *islice(wrong_solutions(problem), 2))
    ]
    assert len(solutions) > 80
    assert contradicted(solutions, workers=1) == []


def test_solutions_go_wrong_in_many_ways() -> None:
    flaws = Counter(
        solution.flaw
        for problem in islice(contest_problems("train"), 66)
        for solution in islice(wrong_solutions(problem), 4)
    )
    assert set(flaws) >= {"off by one", "wrong step", "order", "step left out", "case forgotten", "syntax error"}
    assert flaws["syntax error"] + flaws["exception"] + flaws["nothing returned"] < sum(flaws.values()) / 3


def test_more_than_there_are_of_a_grade() -> None:
    with pytest.raises(RecipeError, match=r"has \d+ such solutions in test; 5,000 were asked for"):
        contest_rows("test", 5_000, grades=(2,))
