"""The contest as files, in the form of every set of programs."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

import curricle
from curricle.data.problems import read_problems
from curricle.data.validate import validate
from curricle.errors import DataError, RecipeError
from curricle.experiments.contest import contest_rows


def test_files(tmp_path: Path) -> None:
    prepared = curricle.prepare("contest", None, tmp_path / "a", rows=120)
    assert "train.jsonl: 120 of 120 programs" in str(prepared)
    found = validate(tmp_path / "a")
    assert found.ok, str(found)
    rows = {
        split: [orjson.loads(line) for line in (tmp_path / "a" / f"{split}.jsonl").read_bytes().splitlines()]
        for split in ("train", "valid", "test")
    }
    assert rows["train"] == contest_rows("train", 120)
    assert rows["valid"] == contest_rows("valid", 12)
    problems = list(read_problems(tmp_path / "a" / "train_problems.jsonl"))
    assert [problem.task_id for problem in problems] == list(
        dict.fromkeys(row["task_id"].split("_correct")[0].split("_incorrect")[0] for row in rows["train"])
    )
    prompts = {problem.prompt for problem in problems}
    assert {f"{row['instruction']}\n{row['input']}" for row in rows["train"]} == prompts
    labels = orjson.loads((tmp_path / "a" / "train_metadata.json").read_bytes())
    assert labels["stats"]["correct"] == 60
    curricle.prepare("contest", None, tmp_path / "b", rows=120, seed=1)
    assert (tmp_path / "b" / "train.jsonl").read_bytes() != (tmp_path / "a" / "train.jsonl").read_bytes()


def test_what_cannot_be_asked(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="reads nothing: leave it out"):
        curricle.prepare("contest", tmp_path, tmp_path / "out")
    with pytest.raises(DataError, match="none was given; name it as SOURCE"):
        curricle.prepare("mbpp", None, tmp_path / "out")
    with pytest.raises(DataError, match="did you mean `contest`"):
        curricle.prepare("contst", None, tmp_path / "out")
    with pytest.raises(RecipeError, match="did you mean `rows`"):
        curricle.prepare("contest", None, tmp_path / "out", row=4)
    with pytest.raises(RecipeError, match="`seed` means nothing for mbpp"):
        curricle.prepare("mbpp", tmp_path, tmp_path / "out", seed=4)
    with pytest.raises(RecipeError, match="3 rows are too few"):
        curricle.prepare("contest", None, tmp_path / "out", rows=3)
