"""Difficulties from label files, JSON of either shape and plain numbers, found again for a data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curricle import MetaTokenDifferenceAnalyzer
from curricle.curriculum.difficulties import as_difficulties
from curricle.curriculum.labels import read_labels, write_labels
from curricle.curriculum.labels_json import export_json
from curricle.errors import DataError

IDS = [f"{i:016x}" for i in (7, 3, 9)]
load = MetaTokenDifferenceAnalyzer.load_difficulties


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    write_labels(tmp_path / "labels.parquet", IDS, {"mean": [0.5, 0.25, 1.0]}, [[1, 2], [3, 4], [5, 6]])
    return tmp_path / "labels.parquet"


def test_a_label_file_and_its_json_are_found_by_id(parquet: Path) -> None:
    export_json(read_labels(parquet), parquet.with_suffix(".json"))
    rows = [{"id": name} for name in (IDS[2], IDS[0], IDS[1])]
    for path in (parquet, parquet.with_suffix(".json")):
        known = load(path)
        assert known.of(rows, "mean").tolist() == [1.0, 0.5, 0.25]
        assert known.layers_of(rows).tolist() == [[5, 6], [1, 2], [3, 4]]


def test_rows_without_ids_are_taken_in_order_and_that_is_said(
    parquet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load(parquet).of(["a", "b", "c"], "mean").tolist() == [0.5, 0.25, 1.0]
    assert "row by row" in capsys.readouterr().err
    with pytest.raises(DataError, match="3 labels and the data set 2 rows"):
        load(parquet).of(["a", "b"], "mean")


@pytest.mark.parametrize(
    "shape",
    [
        {"1": {"mean": 0.2, "layers": {"0": 3, "1": 4}}, "0": {"mean": 0.1, "layers": {"0": 1, "1": 2}}},
        [{"mean": 0.1, "layers": [1, 2]}, {"mean": 0.2, "layers": [3, 4]}],
        [
            {"text": "a", "difficulty_scores": {"mean": 0.1}, "layer_diffs": {"0": 1, "1": 2}},
            {"text": "b", "difficulty_scores": {"mean": 0.2}, "layer_diffs": {"0": 3, "1": 4}},
        ],
    ],
)
def test_the_sources_json_is_read_by_row(tmp_path: Path, shape: Any) -> None:
    path = tmp_path / "difficulty_labels.json"
    path.write_text(json.dumps(shape))
    known = load(path)
    assert np.allclose(known.of(["x", "y"], "mean"), [0.1, 0.2])
    assert known.layers_of(["x", "y"]).tolist() == [[1, 2], [3, 4]]


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="every row number from 0 to 1"):
        as_difficulties({"0": 1.0, "2": 2.0})
    with pytest.raises(DataError, match="entry 1 has other scores"):
        as_difficulties([{"mean": 1.0}, {"max": 1.0}])
    with pytest.raises(DataError, match="no finite number for 1 of 2 rows, first row 1"):
        as_difficulties([1.0, float("nan")]).of("ab", "mean")
    with pytest.raises(DataError, match="must be a number"):
        as_difficulties(["hard"])
    with pytest.raises(DataError, match="holds no label"):
        as_difficulties([])
    with pytest.raises(DataError, match="did you mean `mean`"):
        as_difficulties([1.0]).of("a", "meen")
    with pytest.raises(DataError, match="no label file"):
        load(tmp_path / "none.json")
