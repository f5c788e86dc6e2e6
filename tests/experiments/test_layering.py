"""From a recipe to the depth of a run: layers by stage, and layers by their own labels, from end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import curricle
from curricle.curriculum.labels import write_labels
from curricle.data.config import DataConfig
from curricle.data.sources import read_examples
from curricle.errors import DataError, RecipeError
from curricle.experiments.toys.sources import toy_rows
from curricle.runtime.logs import JsonLog

DATA = {"train": "train.jsonl", "format": "dialogue", "max_length": 384}
TRAINING = {
    "max_steps": 6,
    "per_device_train_batch_size": 2,
    "learning_rate": 1e-2,
    "warmup_steps": 0,
    "logging_steps": 1,
    "save_strategy": "no",
}
ADAPTER: dict[str, Any] = {"adapter": {"lora_r": 4, "lora_target_modules": "all-linear"}}


@pytest.fixture(autouse=True)
def _runs_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, libraries: None) -> None:
    monkeypatch.chdir(tmp_path)
    rows = toy_rows("dialogue", 24)
    Path("train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def run(strategy: str, adapter: bool = True, name: str = "depth", **curriculum: Any) -> list[dict[str, Any]]:
    shape = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 3}
    curricle.run(
        {
            "name": name,
            "model": {"name_or_path": "nano:llama", "shape": shape, **(ADAPTER if adapter else {})},
            "data": DATA,
            "training": TRAINING,
            "curriculum": {"strategy": strategy, **curriculum},
            "seeds": [3],
        }
    )
    return JsonLog(Path(f"runs/{name}/base/seed-3/metrics.jsonl")).rows()


def label_file(layers: int = 3) -> str:
    """Each layer finds other examples easy; the last one those that the first finds hard."""
    ids = [example.id for example in read_examples(DataConfig.model_validate(DATA), "train")]
    first = np.arange(len(ids), dtype=np.float32)
    differences = np.stack([first, *[np.roll(first, 5)] * (layers - 2), -first], axis=1)
    write_labels("labels.parquet", ids, {"mean": differences.mean(axis=1)}, layers=differences)
    return "labels.parquet"


@pytest.mark.parametrize("adapter", [True, False], ids=["lora", "full"])
def test_layer_wise_progressive_opens_layers_with_its_stages(adapter: bool) -> None:
    rows = run("layer_wise_progressive", adapter, labels=label_file())
    assert [row["open_layers"] for row in rows] == [[0], [0], [0, 1], [0, 1], [0, 1, 2], [0, 1, 2]]
    assert [row["stage"] for row in rows] == [1, 1, 2, 2, 3, 3]
    assert [[norm > 0 for norm in row["layer_grad_norm"]].count(True) for row in rows] == [1, 1, 2, 2, 3, 3]
    moved = [row.get("layer_moved") for row in rows]
    assert (moved[0] is not None) is adapter
    if adapter:
        assert moved[1][1:] == [0.0, 0.0]  # B A is nothing until a layer's first step
        assert all(moved[-1])


def test_layers_can_be_opened_without_an_order_of_examples() -> None:
    rows = run("none", layers=[[2], [1, 2], [0]])
    assert [row["open_layers"] for row in rows] == [[2], [2], [1, 2], [1, 2], [0], [0]]
    with pytest.raises(RecipeError, match="layers lists 2 stages and num_stages is 3"):
        run("none", layers=[[2], [1]])
    with pytest.raises(RecipeError, match="opens layer 7, but the model has 3"):
        run("none", name="other", layers=[[2], [1], [7]])


def test_layer_specific_teaches_each_layer_its_own_examples() -> None:
    rows = run("layer_specific", labels=label_file(), stage_percentiles=[0.2, 0.3, 1.0])
    for row in rows[:4]:
        assert row["open_layers"] == [layer for layer in range(3) if row["layer_admitted"][layer]]
        assert min(row["layer_admitted"]) < 1
    assert all(row["layer_admitted"] == [1.0, 1.0, 1.0] for row in rows[4:])
    assert [row["admitted_share"] < 1 for row in rows] == [True] * 4 + [False] * 2


def test_labels_of_another_depth_are_matched_aloud(capsys: pytest.CaptureFixture[str]) -> None:
    run("layer_specific", labels=label_file(2))
    assert "the labels hold 2 layers and the model 3" in capsys.readouterr().err


def test_layer_specific_needs_layers_in_its_labels_and_an_adapter() -> None:
    ids = [example.id for example in read_examples(DataConfig.model_validate(DATA), "train")]
    write_labels("flat.parquet", ids, {"mean": np.zeros(len(ids), dtype=np.float32)})
    with pytest.raises(DataError, match="no difference per layer"):
        run("layer_specific", labels="flat.parquet")
    with pytest.raises(RecipeError, match=r"plain LoRA in model\.adapter, and there is none"):
        run("layer_specific", adapter=False, labels=label_file())
    with pytest.raises(RecipeError, match="must be a label file"):
        run("layer_specific", labels="length")


def test_dora_is_refused_before_the_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ADAPTER["adapter"], "use_dora", True)
    with pytest.raises(RecipeError, match=r"plain LoRA in model\.adapter, and it has use_dora"):
        run("layer_specific", labels=label_file())


def test_stages_close_a_dora_layer_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ADAPTER["adapter"], "use_dora", True)
    rows = run("none", layers="top_down")
    assert [row["open_layers"] for row in rows[::2]] == [[2], [1, 2], [0, 1, 2]]
