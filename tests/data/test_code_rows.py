from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from curricle.data.code_rows import (
    CodeRow,
    check_row,
    metadata_file,
    metadata_path,
    problem_of,
    read_metadata,
    write_metadata,
)
from curricle.data.readers import BadRow
from curricle.errors import DataError

ROW: dict[str, Any] = {
    "instruction": "Add.",
    "input": "",
    "output": "print(3)",
    "task_id": "brcktsrm_correct_0",
    "is_correct": True,
    "metadata": {"source": "code_contests", "difficulty": 7, "has_tests": True},
}
WRONG = ROW | {"task_id": "brcktsrm_incorrect_1", "is_correct": False}


@pytest.mark.parametrize(
    ("task_id", "problem"),
    [
        ("brcktsrm_correct_0", "brcktsrm"),
        ("76_B. Mice_incorrect_12", "76_B. Mice"),
        ("a_correct_1_incorrect_2", "a_correct_1"),
        ("line\nfeed_correct_0", "line\nfeed"),
        ("HumanEval/3", "HumanEval/3"),
    ],
)
def test_a_task_names_its_problem(task_id: str, problem: str) -> None:
    assert problem_of(task_id) == problem


@pytest.mark.parametrize(
    "change",
    [{}, {"input": None}, {"output": 3}, {"is_correct": "true"}, {"task_id": "a"}, {"metadata": {}}, {"note": ""}],
)
def test_the_published_schema_says_what_the_check_says(change: dict[str, Any]) -> None:
    row, schema = ROW | change, CodeRow.model_json_schema()
    if not change:
        jsonschema.validate(row, schema)
        assert check_row(row).output == "print(3)"
        return
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(row, schema)
    with pytest.raises(BadRow):
        check_row(row)


def test_a_label_that_the_name_denies_is_refused() -> None:
    with pytest.raises(BadRow, match="disagree"):
        check_row(ROW | {"is_correct": False})


def rows_file(folder: Path, *rows: Any) -> Path:
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_labels_are_written_beside_the_rows_and_read_again(tmp_path: Path) -> None:
    path = rows_file(tmp_path, ROW, WRONG, WRONG | {"metadata": {"source": "x", "difficulty": 0, "has_tests": False}})
    out = write_metadata(path)
    assert out == metadata_path(path) == tmp_path / "train_metadata.json"
    assert json.loads(out.read_text()) == {
        "metadata": [
            {"is_correct": True, "difficulty": 7},
            {"is_correct": False, "difficulty": 7},
            {"is_correct": False, "difficulty": 0},
        ],
        "stats": {"total": 3, "correct": 1, "incorrect": 2, "difficulty_dist": {"0": 1, "7": 2}},
    }
    labels = read_metadata(out)
    assert list(labels) == [(True, 7), (False, 7), (False, 0)]
    assert labels.stats == json.loads(out.read_text())["stats"]


def test_labels_that_another_program_wrote_are_read(tmp_path: Path) -> None:
    """The source's own file: indented, and stats with keys of their own."""
    path = tmp_path / "train_metadata.json"
    entries = [{"is_correct": n % 2 == 0, "difficulty": n % 12} for n in range(1000)]
    path.write_text(json.dumps({"metadata": entries, "stats": {"total": 1000, "note": "x"}}, indent=2))
    labels = read_metadata(path)
    assert [{"is_correct": right, "difficulty": level} for right, level in labels] == entries
    assert labels.is_correct.itemsize + labels.difficulty.itemsize == 3


@pytest.mark.parametrize(
    "change",
    [{"is_correct": 1}, {"metadata": {"difficulty": "7"}}, {"metadata": {"difficulty": 1 << 20}}, {"metadata": 3}],
)
def test_a_row_without_a_label_is_named(tmp_path: Path, change: dict[str, Any]) -> None:
    path = rows_file(tmp_path, ROW, ROW | change)
    with pytest.raises(DataError, match=f"{path}:2: no label"):
        write_metadata(path)
    assert not metadata_path(path).exists()
    metadata_path(path).write_text(json.dumps({"metadata": [{"is_correct": True, "difficulty": True}]}))
    with pytest.raises(DataError, match="entry 1 of `metadata`: no label"):
        read_metadata(metadata_path(path))


def test_no_rows_are_labels_of_none(tmp_path: Path) -> None:
    with metadata_file(tmp_path / "x_metadata.json"):
        pass
    assert json.loads((tmp_path / "x_metadata.json").read_text())["metadata"] == []
