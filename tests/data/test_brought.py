"""Rewards and weights that rows bring: what they become, and what is refused with the row's place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from chat_tokenizers import tokenizer_with
from curricle.data.brought import token_weights_of
from curricle.data.config import DataConfig
from curricle.data.encode import encode_examples
from curricle.data.sources import read_examples
from curricle.data.table import TokenTable
from curricle.errors import DataError

SUPERVISED = np.array([0, 0, 1, 1], dtype=bool)


@pytest.mark.parametrize(
    ("given", "expected"), [(0.5, [0, 0, 0.5, 0.5]), ([2, 1], [0, 0, 2, 1]), ([1, 1, 2, 0], [1, 1, 2, 0])]
)
def test_weights_of_a_row(given: Any, expected: list[float]) -> None:
    assert token_weights_of(given, SUPERVISED, "here").tolist() == expected


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([1, 2, 3], "3 weights for 2 learned tokens"),
        ([1, -2], "weight -2 at place 1"),
        ([1, float("nan")], "weight nan at place 1"),
        (float("inf"), "weight inf; a weight"),
        (float("nan"), "weight nan; a weight"),
        (-0.5, "weight -0.5; a weight"),
        ([-0.5, 1], "weight -0.5 at place 0"),
        ([1, None], "weight null at place 1"),
        ("much", "a number or a list of numbers"),
        ([[1, 2]], "2 weights for 2"),
        (None, "weight null"),
    ],
)
def test_weights_that_are_refused(given: Any, said: str) -> None:
    with pytest.raises(DataError, match=f"here: .*{said}"):
        token_weights_of(given, SUPERVISED, "here")


def table(folder: Path, rows: list[dict[str, Any]], **settings: Any) -> TokenTable:
    file = folder / "rows.jsonl"
    file.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    config = DataConfig(train=str(file), **settings)
    return encode_examples(read_examples(config), tokenizer_with(None), config)


def row(**more: Any) -> dict[str, Any]:
    return {"prompt": "two and two", "completion": " four", **more}


@pytest.mark.parametrize(("told", "reward"), [(True, 1.0), (0, 0.0), (1.0, 1.0), ("False", 0.0), ("1", 1.0)])
def test_rewards_are_read(tmp_path: Path, told: Any, reward: float) -> None:
    found = table(tmp_path, [row(ok=told), row(ok=True)], reward_field="ok").rewards
    assert found is not None
    assert found.tolist() == [reward, 1.0]


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({}, "rows.jsonl:2: no field `ok`"),
        ({"ok": 0.5}, "rows.jsonl:2: a reward that is not 0 or 1"),
        ({"ok": "perhaps"}, "not 0 or 1"),
        ({"ok": [1]}, "not 0 or 1"),
    ],
)
def test_rewards_that_are_refused(tmp_path: Path, told: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        table(tmp_path, [row(ok=True), row(**told)], reward_field="ok")


def test_weights_are_read_for_learned_tokens(tmp_path: Path) -> None:
    made = table(tmp_path, [row(w=2.0), row(w=0)], weight_field="w")
    assert made.token_weights is not None
    assert made.token_weights.tolist() == [2.0 * learned for learned in made.supervised[: made.offsets[1]]] + [0.0] * (
        made.offsets[2] - made.offsets[1]
    )


def test_a_weight_of_null_is_not_an_absent_field(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"rows.jsonl:2: `w` is null: data\.weight_field asks for a number"):
        table(tmp_path, [row(w=2.0), row(w=None)], weight_field="w")
    with pytest.raises(DataError, match=r"rows.jsonl:2: no field `w`"):
        table(tmp_path, [row(w=2.0), row()], weight_field="w")


def test_weights_of_another_length_name_the_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"rows.jsonl:2: 40 weights for \d+ learned tokens"):
        table(tmp_path, [row(w=2.0), row(w=[1.0] * 40)], weight_field="w")


def test_a_window_that_goes_on_is_truncated_and_has_its_weights(tmp_path: Path) -> None:
    made = table(tmp_path, [{"text": "abcdefgh " * 9, "w": 3}], format="text", weight_field="w", max_length=8)
    assert made.truncated is not None
    assert made.truncated.tolist() == [True] * (len(made) - 1) + [False]
    assert made.token_weights is not None
    assert (made.token_weights[made.supervised] == 3).all()


def test_a_cut_text_is_truncated(tmp_path: Path) -> None:
    texts = [{"text": "abcdefgh " * 9}, {"text": "ab"}]
    made = table(tmp_path, texts, format="text", on_long="truncate", max_length=8)
    assert made.truncated is not None
    assert made.truncated.tolist() == [True, False]
