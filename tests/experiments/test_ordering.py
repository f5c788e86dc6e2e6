"""Labels find their examples in a real table, wherever they come from; what they cost is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curricle.curriculum.labels import write_labels
from curricle.curriculum.mixes import Mixed
from curricle.curriculum.pacing import Stages
from curricle.errors import DataError, RecipeError
from curricle.experiments import inspect
from curricle.experiments.material import Material, gather
from curricle.experiments.ordering import column_of, difficulty_of, label_flops, make_order
from curricle.experiments.resolve import resolve

RECIPE: dict[str, Any] = {
    "name": "order",
    "model": {"name_or_path": "nano:llama", "shape": {"vocab_size": 300}},
    "data": {"train": "toy:dialogue#30", "format": "dialogue", "max_length": 512},
    "curriculum": {"strategy": "layer_wise_progressive", "labels": "data"},
    "training": {"max_steps": 9},
}


def material(**curriculum: Any) -> Material:
    tree = {**RECIPE, "curriculum": {**RECIPE["curriculum"], **curriculum}}
    return gather(resolve(tree).arms["base"].settings)


@pytest.fixture(scope="module")
def plain() -> Material:
    return material()


def test_a_column_of_the_data_finds_its_examples(plain: Material) -> None:
    """The toys' difficulties come in turn, 1 to 5."""
    found = difficulty_of(plain)
    assert found is not None
    assert len(set(found.tolist())) == 5
    assert found.tolist() == found[:5].tolist() * 6


def test_a_label_file_gives_the_same_order_as_the_column_it_was_made_from(plain: Material, tmp_path: Path) -> None:
    labels = column_of(plain.settings.data, "difficulty")
    path = tmp_path / "l.parquet"
    write_labels(path, labels.ids[::-1], {"mean": labels.columns["difficulty"][::-1]}, about={"cost": {"flops": 7e9}})
    filed = material(labels=str(path))
    a, b = (make_order(one, 9, 0) for one in (plain, filed))
    assert isinstance(a, Stages)
    assert isinstance(b, Stages)
    assert (a.num_easier == b.num_easier).all()
    assert label_flops(filed.settings) == 7e9
    assert label_flops(plain.settings) == 0
    assert label_flops(material(labels=str(path), control="random_curriculum").settings) == 0
    assert label_flops(material(labels=str(path), strategy="none").settings) == 0


def test_length_is_the_number_of_tokens() -> None:
    by_length = material(labels="length")
    assert difficulty_of(by_length).tolist() == by_length.train.lengths.tolist()  # type: ignore[union-attr]


def test_unknown_difficulty_goes_to_its_bin(tmp_path: Path, plain: Material) -> None:
    path = tmp_path / "l.parquet"
    write_labels(path, plain.train.ids[:20], {"mean": np.arange(20)})
    schedule = [{"epoch_range": [0, 1], "difficulty_weights": {"easy": 0.5, "unknown": 0.5}}]
    keys = {"labels": str(path), "strategy": "staged_mix", "difficulty_schedule": schedule}
    order = make_order(material(**keys, difficulty_bins={"easy": [0, 100]}), 9, 0)
    assert isinstance(order, Mixed)
    assert order.sizes == [20, 10]


def test_labels_that_do_not_fit_are_refused(tmp_path: Path, plain: Material) -> None:
    path = tmp_path / "l.parquet"
    write_labels(path, plain.train.ids[:20], {"mean": np.arange(20)})
    with pytest.raises(DataError, match="lacks a label for 10 of the 30 examples"):
        make_order(material(labels=str(path)), 9, 0)
    with pytest.raises(DataError, match="there is no label file"):
        make_order(material(labels="none.parquet"), 9, 0)
    with pytest.raises(DataError, match=r"no training row has a number in `difficulti`; did you mean `difficulty`"):
        make_order(material(column="difficulti"), 9, 0)
    with pytest.raises(DataError, match=r"jsonl:1: `summary` is '.*'; a curriculum needs a number there"):
        make_order(material(column="summary"), 9, 0)


def test_a_mix_and_source_weights_are_one_too_many() -> None:
    tree = {**RECIPE, "data": {**RECIPE["data"], "train": [{"path": "toy:dialogue#30", "weight": 2}]}}
    tree["curriculum"] = {"strategy": "static_mix", "shares": {"work": 1.0}}
    with pytest.raises(RecipeError, match="take `weight` out of"):
        make_order(gather(resolve(tree).arms["base"].settings), 9, 0)


def test_inspect_shows_the_order_of_the_recipe(plain: Material) -> None:
    shown = inspect.order({**RECIPE, "data": {**RECIPE["data"], "packing": "none"}}, rows=8)
    easy = {
        plain.train.ids[i]
        for i in np.flatnonzero(make_order(plain, 9, 0).admitted(0.0))  # type: ignore[arg-type]
    }
    assert {name for row in shown.rows for name in row.examples} <= easy
    json.dumps([row.step for row in shown.rows])
