"""Problems: the same for everybody, none in two splits, none that a lesser program would solve."""

from __future__ import annotations

from itertools import islice

import pytest

from curricle.data.problems import Asserts, Cases
from curricle.errors import RecipeError
from curricle.experiments.contest import SPLITS, ContestProblem, contest_problems, problem_row
from curricle.experiments.contest.grades import GRADES
from curricle.experiments.contest.problems import behaviour_of, make_problem
from curricle.experiments.contest.trees import Use, outcome, skeleton


def problems(split: str, n: int, seed: int = 0) -> list[ContestProblem]:
    return list(islice(contest_problems(split, seed), n))


@pytest.fixture(scope="module")
def by_split() -> dict[str, list[ContestProblem]]:
    return {split: problems(split, 110) for split in SPLITS}


def test_the_grades_take_turns(by_split: dict[str, list[ContestProblem]]) -> None:
    assert [problem.grade for problem in by_split["train"]] == [*GRADES] * 10


def test_another_seed_gives_other_problems(by_split: dict[str, list[ContestProblem]]) -> None:
    assert problems("train", 33) == by_split["train"][:33]
    assert problems("train", 33, seed=1) != by_split["train"][:33]


def test_no_problem_and_no_composition_is_in_two_splits_whatever_the_seed(
    by_split: dict[str, list[ContestProblem]],
) -> None:
    found = {split: by_split[split] + problems(split, 55, seed=1) for split in SPLITS}
    for marks in (
        {split: {behaviour_of(problem.tree) for problem in found[split]} for split in SPLITS},
        {split: {skeleton(p.tree) for p in found[split] if len(p.tree) > 1} for split in SPLITS},
        {split: {problem.instruction for problem in found[split]} for split in SPLITS},
    ):
        assert all(len(marks[split]) > 30 for split in SPLITS)
        assert not marks["train"] & marks["valid"]
        assert not marks["train"] & marks["test"]
        assert not marks["valid"] & marks["test"]


def test_tests_tell_a_constant_and_the_input_from_a_solution(by_split: dict[str, list[ContestProblem]]) -> None:
    for problem in by_split["train"]:
        assert problem.outputs == tuple(outcome(problem.tree, value) for value in problem.inputs)
        assert not problem.tells_apart(problem.outputs)
        assert problem.tells_apart(problem.inputs)
        texts = [repr(value) for value in problem.outputs]
        assert all(problem.tells_apart((value,) * len(texts)) for value in problem.outputs)
        assert any(not value for value in problem.inputs)  # 0, an empty list, an empty text


def test_a_step_that_changes_nothing_makes_no_problem() -> None:
    for tree in (
        (Use("sort"), Use("sum")),
        (Use("reverse"), Use("largest")),
        (Use("absolute"), Use("absolute")),
        (Use("upper"), Use("length")),
    ):
        behaviour = behaviour_of(tree)
        assert behaviour is not None
        assert make_problem(tree, 4, behaviour) is None


def test_as_problems_to_run(by_split: dict[str, list[ContestProblem]]) -> None:
    rows = [problem_row(problem) for problem in by_split["valid"]]
    assert {type(row.tests) for row in rows} == {Asserts, Cases}
    for row in rows:
        assert (row.entry_point == "solve") == isinstance(row.tests, Asserts)
        assert row.difficulty in GRADES
        assert row.prefix == ""


def test_no_such_split() -> None:
    with pytest.raises(RecipeError, match="did you mean `train`"):
        next(contest_problems("trian"))
