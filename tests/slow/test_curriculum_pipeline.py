"""The source's three commands, as a person types them: label, analyze, train. A Llama cloud, and a Qwen2 edge of other
depth, width and tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from curricle.curriculum.labels import align_layers, read_labels
from curricle.curriculum.layer_specific import layer_ranks
from difficulty.nano_pair import make_rows, save_pair
from slow.children import command_line, complete, lines

pytestmark = pytest.mark.slow

ROWS, STEPS = 80, 16
RECIPE = {
    "name": "order",
    "seed": 3,
    "model": {"name_or_path": "./edge", "adapter": {"lora_r": 4, "lora_alpha": 8}},
    "data": {"train": "train.jsonl", "eval": "dev.jsonl", "format": "messages", "max_length": 256},
    "training": {"max_steps": STEPS, "per_device_train_batch_size": 2, "learning_rate": 1e-2, "logging_steps": 1},
    "curriculum": {"labels": "labels.parquet", "num_stages": 2, "stage_percentiles": [0.5, 1.0]},
    "evaluation": [{"metric": "loss"}],
    "arms": {
        "shuffled": {"curriculum": {"strategy": "none"}},
        "stages": {"curriculum": {"strategy": "layer_wise_progressive"}},
        "layers": {"curriculum": {"strategy": "layer_specific"}},
    },
}


def curricle(folder: Path, *arguments: str) -> str:
    """One command line in a process of its own; what it printed and said."""
    said = folder / "logs" / f"{arguments[0]}.log"
    complete(command_line, folder, *arguments, said=said)
    return said.read_text(encoding="utf-8")


def write_chats(path: Path, num: int, seed: int) -> None:
    rows = [
        {
            "messages": [
                {"role": "system", "content": "Go on."},
                {"role": "user", "content": row["prompt"]},
                {"role": "assistant", "content": row["completion"]},
            ]
        }
        for row in make_rows(num, seed)
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all of it has been done."""
    folder = tmp_path_factory.mktemp("pipeline")
    save_pair(folder)
    write_chats(folder / "train.jsonl", ROWS, seed=0)
    write_chats(folder / "dev.jsonl", 12, seed=1)
    (folder / "order.yaml").write_text(yaml.safe_dump(RECIPE, sort_keys=False), encoding="utf-8")
    curricle(folder, "score", "train.jsonl", "--cloud", "cloud", "--edge", "edge", "-o", "labels.parquet")
    curricle(folder, "run", "order.yaml")
    return folder


def taken(place: Path, arm: str) -> list[list[int]]:
    """The examples of each step."""
    log = lines(place / f"runs/order/{arm}/seed-3/consumed.jsonl")
    return [[example for row in line["rows"] for example in row] for line in log]


def told(place: Path, arm: str, key: str) -> list[object]:
    return [line.get(key) for line in lines(place / f"runs/order/{arm}/seed-3/metrics.jsonl")]


def test_labels_have_the_edge_models_layers(place: Path) -> None:
    labels = read_labels(place / "labels.parquet")
    assert labels.layers is not None
    assert labels.layers.shape == (ROWS, 3)
    assert labels.about["matched_layers"] == [2, 3, 5]


def test_stages_train_on_the_easier_half_first_and_on_its_layers(place: Path) -> None:
    assert told(place, "stages", "open_layers") == [[0, 1]] * 8 + [[0, 1, 2]] * 8
    hard = read_labels(place / "labels.parquet").columns["mean"]  # in the order of the file, as the table is
    easier = set(np.argsort(hard, kind="stable")[: ROWS // 2].tolist())
    assert {example for step in taken(place, "stages")[:8] for example in step} <= easier
    assert {example for step in taken(place, "stages")[8:] for example in step} - easier
    moved = told(place, "stages", "layer_moved")
    assert [step[2] for step in moved[:8]] == [0.0] * 8  # type: ignore[index]
    assert moved[-1][2] > 0  # type: ignore[index]


def test_each_layer_learns_from_its_own_examples(place: Path) -> None:
    labels = read_labels(place / "labels.parquet")
    admits = layer_ranks(align_layers(labels, labels.ids)) < ROWS // 2
    for step, shares in zip(taken(place, "layers"), told(place, "layers", "layer_admitted"), strict=True):
        expected = admits[step].mean(0) if step in taken(place, "layers")[:8] else np.ones(3)
        assert shares == pytest.approx(expected.tolist())
    assert not (admits == admits[:, :1]).all()  # the layers do not agree, so this is another order than one for all


def test_the_comparison_and_the_drawn_order(place: Path) -> None:
    charged = {}
    for arm in ("shuffled", "stages", "layers"):
        charged[arm] = json.loads((place / f"runs/order/{arm}/seed-3/results.json").read_bytes())["label_flops"]
    whole = read_labels(place / "labels.parquet").flops  # the columns that no arm goes by are nobody's cost
    assert charged["shuffled"] == 0
    assert 0 < charged["stages"] == charged["layers"] < whole
    assert (place / "runs/order/report.html").is_file()
    shown = curricle(place, "inspect", "order", "runs/order", "--arm", "stages")
    drawn = {line.split("  ")[0]: line.split("  ")[-1] for line in shown.splitlines()[1:7]}
    assert drawn["admitted"] == "0.5 to 1"
    assert drawn["layers"] == "2 to 3"
    assert "layers/seed-3" in curricle(place, "inspect", "order", "runs/order", "--arm", "layers")


def test_the_analysis_against_real_difficulty(place: Path) -> None:
    curricle(place, "probe", "order.yaml", "-o", "probe.parquet", "--folds", "2", "--set", "training.max_steps=4")
    shown = curricle(place, "analyze", "labels.parquet", "--against", "probe.parquet", "-o", "analysis")
    assert (place / "analysis/report.html").is_file()
    assert json.loads((place / "analysis/analysis.json").read_bytes())
    for name in (
        "mean",
        "length",
        "loss",
        "Spearman",
        "AUC",
        "Hardest by mean",
        "Easiest by mean",
        "r > 0.5",
        "accuracy > 70%",
    ):
        assert name in shown, name
