"""Presets lie between the recipe's base and what `--set` says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from curricle.errors import CurricleError
from curricle.experiments.presets import BUILT_IN
from curricle.experiments.resolve import resolve

RECIPE: dict[str, Any] = {
    "model": {"name_or_path": "toy:base"},
    "data": {"train": "toy:dialogue#400", "eval": "toy:dialogue-eval#40", "format": "dialogue"},
    "training": {"max_steps": 300, "learning_rate": 1e-3},
    "presets": {"local-light": {"training": {"learning_rate": 2e-3}}, "mine": {"data": {"max_length": 64}}},
    "arms": {"base": {}, "long": {"training": {"max_steps": 500}}},
}


def rows(source: Any) -> int:
    return len(Path(source.path).read_text(encoding="utf-8").splitlines())


def test_nothing_changes_unasked() -> None:
    found = resolve(RECIPE)
    assert found.arms["base"].settings.training["max_steps"] == 300
    assert not {"preset", "presets"} & found.tree().keys()


def test_a_built_in_preset_with_the_recipe_s_own_part() -> None:
    found = resolve({**RECIPE, "preset": "local-light"})
    base = found.arms["base"].settings
    assert base.training["max_steps"] == BUILT_IN["local-light"]["training"]["max_steps"]
    assert base.training["learning_rate"] == 2e-3
    assert [rows(source) for which in ("train", "eval") for source in base.data.sources(which)] == [100, 32]
    assert found.arms["long"].settings.training["max_steps"] == 500
    assert resolve(found.tree()).arms["base"].hash == found.arms["base"].hash


def test_sets_win_and_may_ask(capsys: pytest.CaptureFixture[str]) -> None:
    found = resolve(RECIPE, ["preset=[local-light, micro-model, mine]", "training.max_steps=7"]).base
    assert (found.training["max_steps"], found.data.max_length) == (7, 64)
    assert found.model.nano_type == "llama"


def test_the_small_file_lies_beside_the_whole_one(tmp_path: Path) -> None:
    row = '{"prompt": "a", "completion": "b"}\n'
    for name, number in (("train", 9), ("train_small", 2), ("valid", 5), ("validation_small", 1)):
        (tmp_path / f"{name}.jsonl").write_text(row * number)
    data = {"train": f"{tmp_path}/train.jsonl", "eval": f"{tmp_path}/valid.jsonl", "dataset_suffix": "small"}
    found = resolve({**RECIPE, "data": data}).arms["base"].settings.data
    assert [rows(source) for which in ("train", "eval") for source in found.sources(which)] == [2, 1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"preset": "local-ligt"}, "there is no preset `local-ligt`; did you mean `local-light`"),
        ({"preset": ["mine", "yours"]}, "there is no preset `yours`"),
        ({"presets": {"mine": {"data": {"max_lenght": 64}}}}, "max_lenght"),
        ({"preset": "mine", "presets": {"mine": {"data": {"max_lenght": 64}}}}, "max_lenght"),
        ({"data": {"train": "none/train.jsonl", "dataset_suffix": "small"}}, "there is no none/train_small.jsonl"),
    ],
)
def test_mistakes_are_one_line(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(CurricleError, match=said) as error:
        resolve({**RECIPE, **changes})
    assert "\n" not in str(error.value)
