from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from curricle.data.code_rows import check_row, problem_of, read_metadata
from curricle.data.config import DataConfig
from curricle.data.prepare import PreparedCode, prepare
from curricle.data.prepare.codecontests import why_not_python3
from curricle.data.problems import Cases, read_problems
from curricle.data.sources import read_examples
from curricle.errors import DataError, RecipeError
from curricle.runtime.files import sha256_file
from data.contests import CPP, JAVA, PYTHON2, PYTHON3, pairs, problem, programs, release


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def prepared(folder: Path, options: dict[str, Any] | None = None, **splits: list[dict[str, Any]]) -> PreparedCode:
    done = prepare("codecontests", release(folder / "src", **splits), folder / "out", **(options or {}))
    assert isinstance(done, PreparedCode)
    return done


def counts(found: Any) -> dict[str, int]:
    return {reason: skipped.count for reason, skipped in found.items()}


def test_a_problem_becomes_rows_of_the_source_and_a_problem_to_run(tmp_path: Path) -> None:
    out = prepared(tmp_path, train=[problem("1_A. Sum")]).out
    right, second, wrong = rows(out / "train.jsonl")
    assert right == {
        "instruction": "Problem 1_A. Sum: add two numbers.",
        "input": "Input:\n1 2\nOutput:\n3\n\nInput:\n2 2\nOutput:\n4",
        "output": "# 1_A. Sum\nprint(sum(map(int, input().split())))\n",
        "task_id": "1_A. Sum_correct_0",
        "is_correct": True,
        "metadata": {
            "source": "code_contests",
            "difficulty": 1,
            "has_tests": True,
            "published_difficulty": 7,
            "rating": 800,
            "site": "codeforces",
            "language": "python3",
        },
    }
    assert (second["task_id"], wrong["task_id"]) == ("1_A. Sum_correct_1", "1_A. Sum_incorrect_0")
    assert wrong["is_correct"] is False
    for row in (right, second, wrong):
        check_row(row)
    [found] = read_problems(out / "train_problems.jsonl")
    assert found.tests == Cases(
        (("1 2\n", "3\n"), ("2 2\n", "4\n"), ("0 0\n", "0\n"), ("5 5\n", "10\n"), ("9 1\n", "10\n"))
    )
    assert (found.reference, found.prompt, found.difficulty) == (right["output"], right["instruction"], 1)
    assert found.metadata == {
        "site": "codeforces",
        "contest": 1,
        "index": "A",
        "rating": 800,
        "tags": ["math"],
        "seconds": 1.5,
        "memory_bytes": 256_000_000,
    }


def test_what_lies_beside_the_rows(tmp_path: Path) -> None:
    many = [problem(f"{number}_A", difficulty=7 + number, cf_rating=800 + 270 * number) for number in range(5)]
    done = prepared(tmp_path, train=many, valid=[problem("9_A")])
    out = done.out
    labels = json.loads((out / "train_metadata.json").read_text())
    assert labels["metadata"][:3] == [{"is_correct": label, "difficulty": 1} for label in (True, True, False)]
    assert labels["stats"] == {
        "total": 15,
        "correct": 10,
        "incorrect": 5,
        "difficulty_dist": {str(level): 3 for level in range(1, 6)},
    }
    assert read_metadata(out / "train_metadata.json").stats == labels["stats"]
    stats = json.loads((out / "stats" / "train.json").read_text())
    assert (stats["total"], stats["problems_with_rows"], stats["rows_per_problem"]) == (15, 5, {"median": 3, "most": 3})
    assert stats["site"] == {"codeforces": 15}
    schema = json.loads((out / "schema.json").read_text())
    assert set(schema["required"]) == {"instruction", "input", "output", "task_id", "is_correct", "metadata"}
    manifest = json.loads((out / "manifest.json").read_text())
    there = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert set(manifest["files"]) == there - {"manifest.json"}
    assert all(entry["sha256"] == sha256_file(out / name) for name, entry in manifest["files"].items())
    assert manifest["options"] == {
        "tokenizer": None,
        "max_length": 2048,
        "chat_template": None,
        "python2": "parse",
        "difficulty": "rating",
        "tests": "all",
    }
    card = (out / "card.md").read_text()
    assert "train.jsonl: 15 of 15 programs; train_problems.jsonl: 5 of 5 problems" in card
    assert "no row was left out for its length" in card
    assert "CC BY 4.0" in card


LEFT_OUT = [
    ({"solutions": programs((CPP, "int main() {}"), (JAVA, "class A {}"))}, "another language (cpp)", 1),
    ({"solutions": programs((0, "x = 1"), (9, "y = 1"))}, "another language (unknown)", 2),
    ({"solutions": programs((PYTHON3, "  \n"))}, "an empty program", 1),
    ({"solutions": programs((PYTHON3, "x = 1\n"), (PYTHON3, "x = 1"))}, "the same program again", 1),
    ({"solutions": programs((PYTHON3, "print(3)"))}, "labelled both correct and incorrect", 2),
    ({"solutions": programs((PYTHON3, "print 3"))}, "labelled correct Python 3, but Python 3 cannot parse it", 1),
    ({"solutions": programs((PYTHON2, "print 3"))}, "Python 2 that Python 3 cannot parse", 1),
    (
        {"solutions": programs((PYTHON2, "x = raw_input()"))},
        "Python 2 that uses a name that Python 3 lacks (raw_input)",
        1,
    ),
]


@pytest.mark.parametrize(("changes", "reason", "count"), LEFT_OUT)
def test_programs_that_cannot_be_trained_on_are_counted(
    tmp_path: Path, changes: dict[str, Any], reason: str, count: int
) -> None:
    done = prepared(tmp_path, train=[problem("1_A", **changes), problem("2_A")])
    account = done.splits["train"]
    assert counts(account.dropped_programs)[reason] == count
    assert account.rows == account.programs - sum(counts(account.dropped_programs).values())
    assert reason in (done.out / "card.md").read_text()


PROBLEMS = [
    ({"name": ""}, "no name"),
    ({"description": " \n"}, "no description"),
    ({"public_tests": {"input": ["1"], "output": []}}, "tests that do not pair"),
    ({"solutions": {"language": [3], "solution": []}}, "programs without a language"),
]


@pytest.mark.parametrize(("changes", "reason"), PROBLEMS)
def test_problems_that_cannot_be_used_are_counted(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    done = prepared(tmp_path, train=[problem("1_A"), problem("2_A") | changes])
    account = done.splits["train"]
    assert counts(account.dropped_problems) == {reason: 1}
    assert account.dropped_problems[reason].places == ["train-00000-of-00001.parquet:2"]
    assert (account.problems, account.testable, account.rows) == (2, 1, 3)


def test_problems_without_tests_or_with_files_are_rows_but_are_not_run(tmp_path: Path) -> None:
    none = {name: pairs() for name in ("public_tests", "private_tests", "generated_tests")}
    done = prepared(tmp_path, train=[problem("1_A", **none), problem("2_A", input_file="input.txt"), problem("3_A")])
    assert [p.task_id for p in read_problems(done.problems["train"])] == ["3_A"]
    found = rows(done.files["train"])
    assert len(found) == 9
    assert [(row["input"], row["metadata"]["has_tests"]) for row in found[:1]] == [("", False)]
    assert set(counts(done.splits["train"].untested)) == {
        "it has none",
        "it reads or writes a named file, not standard input and output",
    }


def test_tests_can_be_the_published_ones_alone(tmp_path: Path) -> None:
    done = prepared(tmp_path, {"tests": "published"}, train=[problem("1_A")])
    [found] = read_problems(done.problems["train"])
    assert isinstance(found.tests, Cases)
    assert [given for given, _ in found.tests.pairs] == ["1 2\n", "2 2\n", "0 0\n", "5 5\n"]


def test_python_2_can_be_kept_apart_or_left_out(tmp_path: Path) -> None:
    both = programs((PYTHON2, "print 1 / 2"), (PYTHON3, "print(0)"))
    apart = prepared(tmp_path / "apart", {"python2": "apart"}, train=[problem("1_A", solutions=both)])
    assert [row["task_id"] for row in rows(apart.out / "train_python2.jsonl")] == ["1_A_correct_0"]
    assert [row["task_id"] for row in rows(apart.files["train"])] == ["1_A_correct_1", "1_A_incorrect_0"]
    assert apart.splits["train"].rows_apart == 1
    assert len(read_metadata(apart.out / "train_metadata.json")) == 2
    dropped = prepared(tmp_path / "drop", {"python2": "drop"}, train=[problem("1_A", solutions=both)])
    assert counts(dropped.splits["train"].dropped_programs) == {"Python 2": 1}
    assert [row["task_id"] for row in rows(dropped.files["train"])] == ["1_A_correct_1", "1_A_incorrect_0"]


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("print(int(1) // 2)", None),
        ("def cmp(a, b): return a - b\ncmp(1, 2)", None),
        ("from functools import reduce\nreduce(max, [1])", None),
        ("import sys\ninput = sys.stdin.readline\nprint(input())", None),
        ("file = open(0)\nprint(file.read())", None),
        ("xrange(3)", "uses a name that Python 3 lacks (xrange)"),
        ("n = input()", "may mean something else in Python 3 (input)"),
        ("n = 3\nn /= 2", "may mean something else in Python 3 (/)"),
        ("exec 'x'", "Python 3 cannot parse"),
        ("x = '\0'", "Python 3 cannot parse"),
        ("(" * 5000, "Python 3 cannot parse"),
    ],
)
def test_python_2_programs_that_mean_something_else_in_python_3(program: str, reason: str | None) -> None:
    assert why_not_python3(program) == reason


def test_the_published_scale_of_difficulty_stays_available(tmp_path: Path) -> None:
    done = prepared(tmp_path, {"difficulty": "published"}, train=[problem("1_A", difficulty=3, cf_rating=0)])
    assert {row["metadata"]["difficulty"] for row in rows(done.files["train"])} == {3}


def test_a_held_out_problem_gives_no_row_to_train_on(tmp_path: Path) -> None:
    text = "Add  two\nnumbers."
    done = prepared(
        tmp_path,
        train=[problem("1_A", description=text), problem("2_A")],
        test=[problem("7_C", description="add two numbers.")],
    )
    assert {problem_of(row["task_id"]) for row in rows(done.files["train"])} == {"2_A"}
    reason = "its text is in the test split, so its programs are no rows"
    assert counts(done.splits["train"].dropped_problems) == {reason: 1}
    assert [p.task_id for p in read_problems(done.problems["train"])] == ["1_A", "2_A"]


def test_a_name_that_two_sites_use_stays_two_problems(tmp_path: Path) -> None:
    other = problem("same", description="Another text.", source=3)
    done = prepared(tmp_path, train=[problem("same"), other, problem("same")])
    assert [p.task_id for p in read_problems(done.problems["train"])] == ["same", "same~2"]
    assert {problem_of(row["task_id"]) for row in rows(done.files["train"])} == {"same", "same~2"}
    assert counts(done.splits["train"].dropped_problems) == {"the same problem again": 1}


def test_small_sets_spread_over_problems_and_labels_and_stay_the_same(tmp_path: Path) -> None:
    many = [problem(f"{number}_A") for number in range(120)]
    one = prepared(tmp_path / "one", train=many, valid=[problem(f"v{number}") for number in range(20)])
    other = prepared(tmp_path / "two", {"tests": "published"}, train=many[::-1])
    small = rows(one.out / "train_small.jsonl")
    assert len(small) == 100
    assert sum(row["is_correct"] for row in small) == 50
    for label in (True, False):
        assert len({problem_of(row["task_id"]) for row in small if row["is_correct"] == label}) == 50
    every = [row["task_id"] for row in rows(one.files["train"])]
    assert [every.index(row["task_id"]) for row in small] == sorted(every.index(row["task_id"]) for row in small)
    assert {row["task_id"] for row in rows(other.out / "train_small.jsonl")} == {row["task_id"] for row in small}
    assert len(rows(one.out / "validation_small.jsonl")) == 32


def test_rows_are_what_a_recipe_reads(tmp_path: Path) -> None:
    done = prepared(tmp_path, train=[problem("1_A")])
    example = next(iter(read_examples(DataConfig(train=str(done.files["train"])))))
    assert [message.role for message in example.messages] == ["user", "assistant"]
    assert example.target == rows(done.files["train"])[0]["output"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"python_2": "drop"}, "did you mean `python2`"),
        ({"python2": "keep"}, "`python2`: keep.*allowed: parse, apart, drop"),
        ({"max_length": 0}, "`max_length`: 0"),
    ],
)
def test_options_that_are_none(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        prepare("codecontests", tmp_path, tmp_path / "out", **options)


@pytest.mark.parametrize("name", ["dialogsum", "mbpp"])
def test_an_option_that_means_nothing_for_a_data_set_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecipeError, match=f"`python2` means nothing for {name}"):
        prepare(name, tmp_path, tmp_path / "out", python2="drop")


def test_what_is_no_release_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no Parquet file of a split; .* train-00000-of-00039.parquet"):
        prepare("codecontests", tmp_path, tmp_path / "out")
    src = release(tmp_path / "src", train=[problem("1_A")])
    path = src / "data" / "train-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="not a readable Parquet file"):
        prepare("codecontests", src, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_of_another_set_is_refused_by_its_columns(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"name": ["a"]}), tmp_path / "train.parquet")
    with pytest.raises(DataError, match="has no column `description`"):
        prepare("codecontests", tmp_path, tmp_path / "out")


def test_missing_parts_of_a_release_are_noted(tmp_path: Path) -> None:
    src = release(tmp_path / "src", train=[problem("1_A")])
    path = src / "data" / "train-00000-of-00001.parquet"
    path.rename(path.with_name("train-00002-of-00039.parquet"))
    assert "train: 1 of 39 files were there" in str(prepare("codecontests", src, tmp_path / "out"))
