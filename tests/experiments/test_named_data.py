from __future__ import annotations

import json
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from curricle.data.code_rows import problem_of
from curricle.errors import DataError, RecipeError
from curricle.experiments.named_data import Rows, load_dataset


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """1,200 rows: 100 problems of difficulties 0 to 11, each with 4 right and 8 wrong programs."""
    folder = tmp_path / "data" / "codecontests"
    folder.mkdir(parents=True)
    with (folder / "train.jsonl").open("w") as handle:
        for number in range(100):
            for label, count in (("correct", 4), ("incorrect", 8)):
                for program in range(count):
                    row = {
                        "instruction": f"Problem {number}",
                        "input": "",
                        "output": f"print({program})",
                        "task_id": f"p{number}_{label}_{program}",
                        "is_correct": label == "correct",
                        "metadata": {"source": "test", "difficulty": number % 12, "has_tests": False},
                    }
                    handle.write(json.dumps(row) + "\n")
    monkeypatch.chdir(tmp_path)
    return folder


def level(row: dict[str, Any]) -> str:
    difficulty = row["metadata"]["difficulty"]
    return "none" if difficulty < 1 else "low" if difficulty <= 3 else "medium" if difficulty <= 7 else "high"


def test_the_call_of_the_source(data: Path) -> None:
    rows = load_dataset("codecontests", stage="stage1", balance_correct=True, correct_ratio=0.5, n_samples=400)
    assert Counter(row["is_correct"] for row in rows) == {True: 200, False: 200}
    assert len(rows) == len({row["task_id"] for row in rows}) == 400
    assert {row["metadata"]["difficulty"] for row in rows} == set(range(12))


def test_a_stage_brings_its_settings_and_the_call_wins(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = load_dataset("codecontests", stage="stage1")
    assert len(rows) == 1200
    said = capsys.readouterr().err
    assert "is_correct=true: 25,000 asked for, 400 taken of 400 there" in said
    assert "50,000 rows were asked for, 1,200 taken" in said
    assert len(load_dataset("codecontests", stage="stage1", balance_correct=False, n_samples=7)) == 7
    ratio = load_dataset("codecontests", stage="stage1", n_samples=100, correct_ratio=0.9)
    assert sum(row["is_correct"] for row in ratio) == 90


def test_stage_2_goes_from_easy_to_hard_in_exact_shares(data: Path) -> None:
    rows = load_dataset("codecontests", stage="stage2", n_samples=200)
    assert [(part.name, part.start, part.stop) for part in rows.parts] == [
        ("0% to 30%", 0, 60),
        ("30% to 70%", 60, 140),
        ("70% to 100%", 140, 200),
    ]
    drawn = [Counter(level(row) for row in rows[part.start : part.stop]) for part in rows.parts]
    assert drawn == [
        {"low": 42, "medium": 18},
        {"low": 24, "medium": 48, "high": 8},
        {"low": 6, "medium": 30, "high": 24},
    ]
    assert len({row["task_id"] for row in rows}) == 200


def test_a_schedule_of_ones_own(data: Path) -> None:
    schedule = [
        {"epoch_range": [0.0, 0.5], "difficulty_weights": {"easy": 1.0}},
        {"epoch_range": [0.5, 1.0], "difficulty_weights": {"hard": 1.0}},
    ]
    bins = {"easy": [1, 2], "hard": [10, 11]}
    rows = load_dataset("codecontests", n_samples=20, difficulty_bins=bins, difficulty_schedule=schedule)
    assert {row["metadata"]["difficulty"] for row in rows[:10]} <= {1, 2}
    assert {row["metadata"]["difficulty"] for row in rows[10:]} <= {10, 11}
    balanced = load_dataset(
        "codecontests", n_samples=20, difficulty_bins=bins, difficulty_schedule=schedule, balance_correct=True
    )
    assert [sum(row["is_correct"] for row in half) for half in (balanced[:10], balanced[10:])] == [5, 5]


@pytest.mark.parametrize("per_problem", [None, 2])
@pytest.mark.parametrize("difficulty_range", [None, (2, 9)])
def test_a_schedule_over_fewer_rows_than_asked_for_takes_what_is_there(
    data: Path, capsys: pytest.CaptureFixture[str], per_problem: int | None, difficulty_range: tuple[int, int] | None
) -> None:
    rows = load_dataset("codecontests", "stage2", per_problem=per_problem, difficulty_range=difficulty_range)
    low, high = difficulty_range or (1, 11)
    problems = [number for number in range(100) if low <= number % 12 <= high]
    assert (
        f"200,000 rows were asked for, {(per_problem or 12) * len(problems):,} can be taken" in capsys.readouterr().err
    )
    drawn = [row["task_id"] for row in rows]
    assert len(drawn) == len(set(drawn))
    assert {problem_of(task) for task in drawn} <= {f"p{number}" for number in problems}
    assert max(Counter(problem_of(task) for task in drawn).values()) <= (per_problem or 12)


def test_a_range_leaves_unknown_difficulties_out(data: Path) -> None:
    rows = load_dataset("codecontests", n_samples=100, difficulty_range=(1, 11))
    assert 0 not in {row["metadata"]["difficulty"] for row in rows}
    assert len(load_dataset("codecontests", difficulty_range=[1, 11])) == 1200 - 12 * 9


def test_a_seed_is_the_draw_on_every_rank(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(**settings: Any) -> list[int]:
        return load_dataset("codecontests", "stage1", n_samples=100, **settings).indices.tolist()

    one = drawn()
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert drawn() == one
    assert drawn(seed=43) != one
    assert one != sorted(one), "they come shuffled"


def test_rows_are_a_sequence_a_file_and_a_data_set(data: Path, tmp_path: Path) -> None:
    rows = load_dataset("codecontests", n_samples=10)
    every = list(rows)
    assert [rows[at] for at in range(10)] == every == rows[:]
    assert rows[-1] == every[-1]
    with pytest.raises(IndexError):
        rows[10]
    assert [json.loads(line) for line in rows.write(tmp_path / "few.jsonl").read_text().splitlines()] == every
    assert list(rows.to_hf()["task_id"]) == [row["task_id"] for row in every]
    again = pickle.loads(pickle.dumps(rows))
    assert isinstance(again, Rows)
    assert list(again) == every
    assert str(rows).startswith("10 rows of data/codecontests/train.jsonl")


def test_where_a_named_set_is_looked_for(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    num = len(load_dataset("codecontests", "stage1"))
    assert len(load_dataset(str(data), "stage1")) == num
    assert len(load_dataset("codecontests", "stage1", data_dir=data)) == num
    assert len(load_dataset("codecontests", "stage1", data_dir=data.parent)) == num
    (data / "processed").mkdir()
    (data / "train.jsonl").rename(data / "processed" / "train.jsonl")
    assert len(load_dataset("codecontests", "stage1")) == num
    monkeypatch.chdir(data)
    monkeypatch.setenv("CURRICLE_DATA", str(data.parent))
    assert len(load_dataset("codecontests", "stage1")) == num
    small = (data / "processed" / "train.jsonl").read_text().splitlines()[:5]
    (data / "processed" / "validation_small.jsonl").write_text("\n".join(small))
    assert len(load_dataset("codecontests", split="valid", dataset_suffix="small")) == 5


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"stage": "stage3"}, "has no stage `stage3`; did you mean"),
        ({"num_samples": 3}, "has no option `num_samples`; did you mean `n_samples`"),
        ({"n_samples": 0}, "n_samples: .*greater than or equal to 1"),
        ({"correct_ratio": 2}, "correct_ratio: .*less than or equal to 1"),
        ({"difficulty_schedule": [], "curriculum_learning": False}, "difficulty_schedule is for curriculum_learning"),
        (
            {"difficulty_schedule": [{"epoch_range": [0, 0.5], "difficulty_weights": {"low": 1}}]},
            "difficulty_schedule ends at 0.5",
        ),
        ({"stage": "stage2", "difficulty_bins": {"low": [1, 5], "high": [3, 9]}}, "overlap"),
        ({"stage": "stage2", "n_samples": 2}, "too few for the part"),
    ],
)
def test_what_cannot_be_drawn_is_said(data: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises((RecipeError, DataError), match=said):
        load_dataset("codecontests", **settings)


def test_a_set_that_is_not_there_is_said_with_what_to_do(data: Path) -> None:
    with pytest.raises(DataError, match=r"no test.jsonl of `codecontests`: looked into data/codecontests"):
        load_dataset("codecontests", split="test")
    with pytest.raises(DataError, match=r"no train.jsonl of `mbpp`: none of mbpp, data/mbpp is a folder.*prepare mbpp"):
        load_dataset("mbpp")
