"""Made-up rows: the same for everybody, none twice, none in both sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from curricle.data.config import DataConfig, Source
from curricle.data.sources import read_examples
from curricle.errors import RecipeError
from curricle.experiments.toys import place_toys, toy_rows


def test_rows() -> None:
    rows, held_out = toy_rows("dialogue", 400), toy_rows("dialogue-eval", 100)
    assert toy_rows("dialogue", 400) == rows
    assert toy_rows("dialogue", 50) == rows[:50]
    assert toy_rows("dialogue", 50, seed=1) != rows[:50]
    assert len({row["dialogue"] for row in rows + held_out}) == 500
    korean = sum("시에" in row["dialogue"] for row in rows)
    assert 150 < korean < 250
    endings = [row["summary"].rpartition(" ")[2] for row in rows]
    assert {"정한다.", "거절한다.", "cannot."} <= set(endings)


def test_a_summary_follows_from_its_dialogue() -> None:
    for row in toy_rows("dialogue", 200):
        assert row["keywords"][0] in row["dialogue"]
        assert row["keywords"][0] in row["summary"]
        numbers = [word for word in row["summary"].replace("시", " ").replace(".", " ").split() if word.isdigit()]
        assert all(number in row["dialogue"] for number in numbers)


def test_more_than_there_are() -> None:
    with pytest.raises(RecipeError, match="different rows; 1,000,000 were asked for"):
        toy_rows("dialogue", 1_000_000)


def test_placed_as_files_that_are_read_like_any_other() -> None:
    asked = DataConfig(
        train=["toy:dialogue#7", Source(path="toy:dialogue", weight=2, rows=3), "mine.jsonl"],
        eval="toy:dialogue-eval#2",
        format="dialogue",
    )
    placed = place_toys(asked)
    first, second, third = placed.sources("train")
    assert (second.weight, second.rows, third.path) == (2, None, "mine.jsonl")
    assert Path(first.path).is_file()
    assert place_toys(asked) == placed
    examples = list(read_examples(placed, "eval"))
    assert [example.target for example in examples] == [row["summary"] for row in toy_rows("dialogue-eval", 2)]
    assert all(example.units for example in examples)


def test_other_data_stays_as_it_is() -> None:
    config = DataConfig(train=["a.jsonl", "b.jsonl#4"])
    assert place_toys(config) == config
