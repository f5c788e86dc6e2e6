"""`curricle run` with a curriculum from end to end: its arms, its books, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from curricle.cli import main
from curricle.curriculum.labels import read_labels, write_labels
from curricle.experiments.material import gather
from curricle.experiments.ordering import column_of
from curricle.experiments.resolve import resolve
from curricle.runtime.logs import JsonLog

pytestmark = pytest.mark.usefixtures("libraries")
RECIPE: dict[str, Any] = {
    "name": "c",
    "seed": 3,
    "model": {
        "name_or_path": "nano:llama",
        "shape": {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2},
    },
    "data": {"train": "toy:dialogue#30", "format": "dialogue", "max_length": 384, "packing": "none"},
    "training": {"max_steps": 6, "per_device_train_batch_size": 2, "learning_rate": 1e-2},
    "curriculum": {"labels": "l.parquet"},
    "arms": {
        "shuffled": {"curriculum": {"strategy": "none"}},
        "stages": {"curriculum": {"strategy": "layer_wise_progressive"}},
        "random": {"curriculum": {"strategy": "layer_wise_progressive", "control": "random_curriculum"}},
        "pacing": {"curriculum": {"strategy": "dynamic_pacing", "loss_threshold": 100}},
    },
}


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(yaml.safe_dump(RECIPE, sort_keys=False))
    data = resolve(RECIPE).base.data
    labels = column_of(data, "difficulty")
    write_labels("l.parquet", labels.ids, {"mean": labels.columns["difficulty"]}, about={"cost": {"flops": 5e6}})


def log(arm: str, name: str = "metrics") -> list[dict[str, Any]]:
    return JsonLog(Path(f"runs/c/{arm}/seed-3/{name}.jsonl")).rows()


def test_arms_with_and_without_a_curriculum(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "r.yaml"]) == 0
    ids = gather(resolve("r.yaml").base).train.ids
    labels = read_labels("l.parquet")
    hard = dict(zip(labels.ids.tolist(), labels.columns["mean"].tolist(), strict=True))
    taken = [[hard[ids[i].encode()] for row in line["rows"] for i in row] for line in log("stages", "consumed")]
    easiest, *_, hardest = sorted(set(hard.values()))
    assert max(taken[0] + taken[1]) < hardest
    assert easiest in taken[0] + taken[1]
    assert [row["admitted_share"] for row in log("stages")] == pytest.approx([0.4, 0.4, 0.8, 0.8, 1.0, 1.0])
    assert [row["admitted_share"] for row in log("random")] == [row["admitted_share"] for row in log("stages")]
    assert log("random", "consumed") != log("stages", "consumed")
    assert [row["competence"] for row in log("pacing")] == pytest.approx([0.25, 0.3, 0.35, 0.4, 0.45, 0.5])
    costs = {
        arm: json.loads(Path(f"runs/c/{arm}/seed-3/results.json").read_bytes())["label_flops"] for arm in RECIPE["arms"]
    }
    assert costs == {"shuffled": 0.0, "stages": 5e6, "random": 0.0, "pacing": 5e6}
    capsys.readouterr()
    assert main(["inspect", "order", "runs/c", "--arm", "stages"]) == 0
    shown = capsys.readouterr().out
    assert "stages/seed-3" in shown
    assert "0.4 to 1" in shown
    assert main(["run", "r.yaml", "--arms", "stages", "--set", "curriculum.num_stages=4"]) == 2
    assert "curriculum.num_stages" in capsys.readouterr().err


def test_labels_that_do_not_fit_stop_before_anything_is_trained(capsys: pytest.CaptureFixture[str]) -> None:
    labels = read_labels("l.parquet")
    write_labels("l.parquet", labels.ids[:10], {"mean": labels.columns["mean"][:10]})
    assert main(["run", "r.yaml"]) == 2
    assert "lacks a label for 20 of the 30 examples" in capsys.readouterr().err
    assert not list(Path("runs").glob("c/*/seed-*/metrics.jsonl"))
    assert main(["run", "r.yaml", "--set", "curriculum.stage_percentiles=[0.5,0.2,1.0]"]) == 2
    assert "must rise from above 0 to 1.0" in capsys.readouterr().err
