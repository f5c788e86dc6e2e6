from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from curricle.data.problems import Asserts, Cases, Problem, read_problems, write_problems
from curricle.errors import DataError

HALF = "    return x / 2\n"
PROBLEMS = [
    Problem("e/0", "def f(x):\n", Asserts("def check(f):\n    assert f(4) == 2\n"), HALF, "f", "def f(x):\n"),
    Problem("c_A", "Add.", Cases((("1 2\n", "3\n"), ("", "0"))), "", difficulty=900, metadata={"tags": ["math"]}),
    Problem("m/1", "Write add.", Asserts("assert add(1, 2) == 3"), "def add(a, b): return a + b", difficulty="easy"),
]
GOOD: dict[str, Any] = {"task_id": "a", "prompt": "p", "tests": {"kind": "python", "code": ""}, "reference": ""}


def test_problems_come_back_as_they_went(tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl"
    assert write_problems(path, PROBLEMS) == 3
    assert list(read_problems(path)) == PROBLEMS
    assert json.loads(path.read_text().splitlines()[2]) == {
        "task_id": "m/1",
        "prompt": "Write add.",
        "tests": {"kind": "python", "code": "assert add(1, 2) == 3"},
        "reference": "def add(a, b): return a + b",
        "difficulty": "easy",
    }


def test_a_program_is_the_prefix_and_a_completion() -> None:
    scope: dict[str, Any] = {}
    exec(PROBLEMS[0].program(PROBLEMS[0].reference) + PROBLEMS[0].tests.code, scope)  # type: ignore[union-attr]
    scope["check"](scope["f"])
    assert PROBLEMS[2].program("x") == "x"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"task_id": 3}, "no text in `task_id`: found a number"),
        ({"task_id": ""}, "no text in `task_id`: it is empty"),
        ({"prompt": None}, "no text in `prompt`: found null"),
        ({"tests": {"kind": "python"}}, "`tests` is neither"),
        ({"tests": {"kind": "stdin", "cases": []}}, "`tests` is neither"),
        ({"tests": {"kind": "stdin", "cases": [{"input": "1", "output": 1}]}}, "a case is no pair"),
        ({"entry_point": 1}, "no text in `entry_point`"),
        ({"difficulty": True}, "`difficulty` is neither"),
        ({"metadata": []}, "`metadata` is no object"),
        ({"test": ""}, "unknown field: `test`"),
    ],
)
def test_a_row_that_is_no_problem_is_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = tmp_path / "problems.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + json.dumps(GOOD | {"task_id": "b"} | change) + "\n")
    with pytest.raises(DataError, match=f"{path}:2: {said}"):
        list(read_problems(path))


def test_a_name_used_twice_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl"
    path.write_text((json.dumps(GOOD) + "\n") * 2)
    with pytest.raises(DataError, match=r"jsonl:2: task_id `a` was used at .*jsonl:1 already"):
        list(read_problems(path))
