"""MBPP and HumanEval: rows and problems from the published files, small and real."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from curricle.data.prepare import PreparedCode, prepare
from curricle.data.problems import Asserts, read_problems
from curricle.errors import DataError

ADD = {
    "text": "Write add.",
    "code": "def add(a, b):\r\n    return a + b",
    "task_id": 11,
    "test_setup_code": "",
    "test_list": ["assert add(1, 2) == 3", "assert add(0, 0) == 0", "assert add(-1, 1) == 0"],
    "challenge_test_list": [],
}
SANITIZED = {
    "source_file": "x.ipynb",
    "task_id": 602,
    "prompt": "Write a root.",
    "code": "def root(x):\n    return x ** 0.5",
    "test_imports": ["import math"],
    "test_list": ["assert math.isclose(root(4), 2)"],
}
HALF = {
    "task_id": "HumanEval/0",
    "prompt": "def half(x):\n    '''Half of it.'''\n",
    "entry_point": "half",
    "canonical_solution": "    return x / 2\n",
    "test": "def check(candidate):\n    assert candidate(4) == 2\n",
}


def prepared(folder: Path, name: str, file: str, text: str) -> PreparedCode:
    (folder / "src").mkdir()
    path = folder / "src" / file
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    done = prepare(name, folder / "src", folder / "out")
    assert isinstance(done, PreparedCode)
    return done


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("file", ["mbpp.jsonl", "mbpp.jsonl.gz"])
def test_mbpp(tmp_path: Path, file: str) -> None:
    other = ADD | {"text": "Write sub.", "task_id": 601, "test_setup_code": "x = 1\r\ny = 2", "code": "sub = 3"}
    done = prepared(tmp_path, "mbpp", file, lines(ADD, other))
    assert rows(done.files["test"]) == [
        {
            "instruction": "Write add.",
            "input": "assert add(1, 2) == 3\nassert add(0, 0) == 0",
            "output": "def add(a, b):\n    return a + b",
            "task_id": "MBPP/11_correct_0",
            "is_correct": True,
            "metadata": {"source": "mbpp", "difficulty": 0, "has_tests": True, "language": "python3"},
        }
    ]
    [found] = read_problems(done.problems["test"])
    asserts = "assert add(1, 2) == 3\nassert add(0, 0) == 0\nassert add(-1, 1) == 0\n"
    assert found.tests == Asserts(asserts)
    assert found.prompt == f"Write add. Your code should pass these tests:\n\n{asserts}"
    [train] = read_problems(done.problems["train"])
    assert train.tests == Asserts("x = 1\ny = 2\n" + asserts)
    assert done.splits["test"].changed == {"line ends made plain (\\r\\n or \\r to \\n)": 1}
    assert done.splits["train"].changed == {}
    assert rows(done.files["prompt"]) == []


def test_the_splits_of_mbpp_are_those_of_its_authors(tmp_path: Path) -> None:
    """1 to 10 are shown in prompts, 11 to 510 are the test, 511 to 600 valid, 601 to 974 train."""
    ends = {"prompt": [1, 10], "test": [11, 510], "valid": [511, 600], "train": [601, 974]}
    published = [ADD | {"task_id": number, "text": f"Task {number}."} for both in ends.values() for number in both]
    done = prepared(tmp_path, "mbpp", "mbpp.jsonl", lines(*published))
    found = {split: [one.task_id for one in read_problems(path)] for split, path in done.problems.items()}
    assert found == {split: [f"MBPP/{number}" for number in both] for split, both in ends.items()}


def test_sanitized_mbpp_brings_its_imports(tmp_path: Path) -> None:
    done = prepared(tmp_path, "mbpp-sanitized", "sanitized-mbpp.json", json.dumps([SANITIZED]))
    [found] = read_problems(done.problems["train"])
    assert found.tests == Asserts("import math\nassert math.isclose(root(4), 2)\n")
    scope: dict[str, Any] = {}
    exec(found.program(found.reference) + "\n" + found.tests.code, scope)


def test_humaneval(tmp_path: Path) -> None:
    done = prepared(tmp_path, "humaneval", "HumanEval.jsonl.gz", lines(HALF))
    [row] = rows(done.files["test"])
    assert (row["instruction"], row["output"]) == (HALF["prompt"], HALF["canonical_solution"])
    assert row["task_id"] == "HumanEval/0_correct_0"
    [found] = read_problems(done.problems["test"])
    assert (found.task_id, found.entry_point, found.prefix) == ("HumanEval/0", "half", HALF["prompt"])
    assert isinstance(found.tests, Asserts)
    scope: dict[str, Any] = {}
    exec(found.program(found.reference) + "\n" + found.tests.code, scope)
    scope["check"](scope[found.entry_point])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"task_id": 0}, "`task_id` is no number from 1 to 974"),
        ({"task_id": "MBPP/3"}, "`task_id` is no number from 1 to 974"),
        ({"code": " "}, "no text in `code`"),
        ({"test_list": []}, "no asserts in `test_list`"),
    ],
)
def test_rows_that_are_none_are_counted_once(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    done = prepared(tmp_path, "mbpp", "mbpp.jsonl", lines(ADD, ADD | {"task_id": 12} | changes))
    dropped = {
        why: skipped.count for account in done.splits.values() for why, skipped in account.dropped_problems.items()
    }
    assert dropped == {reason: 1}


@pytest.mark.parametrize("name", ["mbpp", "mbpp-sanitized", "humaneval"])
def test_a_folder_without_the_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"prepare {name} reads .*json.*\\.gz"):
        prepare(name, tmp_path, tmp_path / "out")


def test_the_published_sets(tmp_path: Path, shared_data: Path) -> None:
    """As many problems as their authors count, and three texts that MBPP has both in train and in test."""
    num = {}
    for name in ("mbpp", "mbpp-sanitized", "humaneval"):
        done = prepare(name, shared_data / name.partition("-")[0], tmp_path / name)
        assert isinstance(done, PreparedCode)
        num[name] = {split: len(list(read_problems(path))) for split, path in done.problems.items()}
        if name == "mbpp":
            assert (done.splits["test"].rows, done.splits["train"].rows) == (500, 371)
    assert num == {
        "mbpp": {"test": 500, "prompt": 10, "valid": 90, "train": 374},
        "mbpp-sanitized": {"test": 257, "prompt": 7, "valid": 43, "train": 120},
        "humaneval": {"test": 164},
    }
