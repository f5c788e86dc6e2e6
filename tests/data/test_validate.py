from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from curricle.cli import main
from curricle.data.prepare import prepare
from curricle.data.validate import validate
from curricle.errors import DataError
from data.contests import problem, release

NUM = 8


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """CodeContests in small: eight problems to train on, two held out."""
    src = release(
        tmp_path / "src",
        train=[problem(f"{number}_A") for number in range(NUM)],
        valid=[problem("v_A")],
        test=[problem("t_A")],
    )
    return prepare("codecontests", src, tmp_path / "out").out


def test_what_was_prepared_is_whole(folder: Path) -> None:
    found = validate(folder)
    assert found.ok, str(found)
    assert found.checked == len(json.loads((folder / "manifest.json").read_text())["files"])
    kinds = {file.path.name: (file.kind, file.rows, file.split) for file in found.files}
    assert kinds["train.jsonl"] == ("code rows", 3 * NUM, "train")
    assert kinds["train_problems.jsonl"] == ("problems", NUM, "train")
    assert kinds["validation_small.jsonl"] == ("code rows", 2, "valid")
    assert str(found).endswith("nothing wrong was found")


def changed(folder: Path, file: str, change: Callable[[list[Any]], None]) -> str:
    """What is found once rows of a file were changed; the manifest is taken away, as it would see that first."""
    (folder / "manifest.json").unlink(missing_ok=True)
    rows = [json.loads(line) for line in (folder / file).read_text().splitlines()]
    change(rows)
    (folder / file).write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = validate(folder)
    assert not found.ok
    return "\n".join(found.wrong)


def test_a_file_that_changed_after_it_was_prepared(folder: Path) -> None:
    with (folder / "train_problems.jsonl").open("a") as handle:
        handle.write("\n")
    (folder / "card.md").unlink()
    found = validate(folder)
    assert found.wrong == [
        f"{folder / 'card.md'} is in the manifest and not there",
        f"{folder / 'train_problems.jsonl'} is not as in the manifest: its SHA256 differs",
    ]
    alone = validate(folder / "train.jsonl")
    assert (alone.ok, alone.checked) == (True, 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"output": None}, "`output`: input should be a valid string"),
        ({"output": ""}, "`output`: string should have at least 1 character"),
        ({"is_correct": 1}, "`is_correct`: input should be a valid boolean"),
        ({"is_correct": False}, "`is_correct` and `task_id` disagree"),
        ({"task_id": "a"}, "`task_id`: string should match pattern"),
        ({"more": 1}, "`more`: extra inputs are not permitted"),
        ({"metadata": {"source": "x", "difficulty": "3", "has_tests": True}}, "`metadata.difficulty`: input should be"),
        ({"metadata": {"source": "x", "difficulty": 1}}, "`metadata.has_tests`: field required"),
    ],
)
def test_a_row_that_is_not_of_the_schema_is_named_with_its_line(
    folder: Path, change: dict[str, Any], said: str
) -> None:
    found = changed(folder, "train.jsonl", lambda rows: rows[3].update(change))
    assert f"1 row: {said}" in found
    assert f"{folder / 'train.jsonl'}:4" in found


def test_an_id_used_twice_is_named_where_it_comes_again(folder: Path) -> None:
    found = changed(folder, "train.jsonl", lambda rows: rows[5].update(rows[2]))
    assert f"1 task_id used before (first: {folder / 'train.jsonl'}:6 0_A_incorrect_0)" in found


def test_a_problem_in_two_splits_is_seen_by_name_and_by_text(folder: Path) -> None:
    held_out = json.loads((folder / "test.jsonl").read_text().splitlines()[0])
    by_name = changed(folder, "train.jsonl", lambda rows: rows.append(held_out | {"task_id": "t_A_correct_9"}))
    place = f"{folder / 'train.jsonl'}:{3 * NUM + 1}"
    assert f"1 problem of test.jsonl is in train.jsonl too, by id (first: {place} t_A)" in by_name
    assert "1 problem of test_problems.jsonl is in train.jsonl too, by id" in by_name
    reworded = {"task_id": "other_correct_0", "instruction": held_out["instruction"].upper().replace(" ", "\n ")}
    by_text = changed(folder, "train.jsonl", lambda rows: rows[-1].update(reworded))
    assert f"1 problem of test.jsonl is in train.jsonl too, by text (first: {place} other)" in by_text


def test_problems_that_are_not_trained_on_leak_nothing(folder: Path) -> None:
    """Problems to be run may be in two splits; rows to be trained on may not."""
    with (folder / "train_problems.jsonl").open("a") as handle:
        handle.write((folder / "test_problems.jsonl").read_text())
    (folder / "manifest.json").unlink()
    assert validate(folder).ok


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda labels: labels["metadata"].pop(), "has 23 entries, train.jsonl 24 rows"),
        (
            lambda labels: labels["metadata"][4].update(is_correct=False),
            "entry 5 says incorrect, difficulty 1, the row",
        ),
        (lambda labels: labels["metadata"][4].update(difficulty="1"), "entry 5 of `metadata`: no label"),
        (lambda labels: labels["stats"].update(total=3), "its stats are not those of its entries"),
    ],
)
def test_labels_that_are_not_those_of_the_rows(folder: Path, change: Callable[[Any], None], said: str) -> None:
    (folder / "manifest.json").unlink()
    path = folder / "train_metadata.json"
    labels = json.loads(path.read_text())
    change(labels)
    path.write_text(json.dumps(labels))
    assert said in "\n".join(validate(folder).wrong)


def test_broken_files(folder: Path) -> None:
    (folder / "manifest.json").write_text("[1]")
    (folder / "test.jsonl").write_text("")
    (folder / "valid.jsonl").write_text('{"task_id": \n')
    with (folder / "train_problems.jsonl").open("a") as handle:
        handle.write('{"task_id": "x", "tests": 3}\n')
    found = validate(folder)
    wrong = "\n".join(found.wrong)
    assert "manifest.json is no manifest" in wrong
    assert "valid.jsonl holds no row that can be read" in wrong
    assert "1 row: no text in `prompt`" in wrong
    assert f"{folder / 'test.jsonl'} is empty" in found.notes


def test_files_of_other_formats(tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": str(n)}, {"role": "assistant", "content": "x"}]} for n in range(5)
    ]
    for split, part in (("train", [*rows[:3], rows[0]]), ("dev", rows[2:])):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    with (tmp_path / "train.jsonl").open("a") as handle:
        handle.write('{"messages": []}\n')
    found = validate(tmp_path)
    assert [(file.kind, file.rows) for file in found.files] == [("messages", 3), ("messages", 4)]
    train = tmp_path / "train.jsonl"
    assert found.wrong == [
        f"{train}: 1 row: an empty conversation (first: {train}:5)",
        f"{train}: 1 row again (first: {train}:4)",
        f"1 row of dev.jsonl is in train.jsonl too, by content (first: {train}:3)",
    ]


def test_the_command_says_what_is_wrong_and_exits_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(folder)]) == 0
    assert "nothing wrong was found" in capsys.readouterr().out
    (folder / "train.jsonl").write_bytes((folder / "train.jsonl").read_bytes()[:-30])
    assert main(["validate", str(folder)]) == 1
    said = capsys.readouterr().out
    assert "wrong: " in said
    assert "its SHA256 differs" in said
    assert "1 row: not JSON" in said
    assert main(["validate", str(folder / "missing")]) == 2


def test_what_holds_no_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no file of rows"):
        validate(tmp_path)
