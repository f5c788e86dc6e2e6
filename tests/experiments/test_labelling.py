"""Labels that a run makes itself: once, by the models and settings of its recipe, charged to whoever goes by them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import curricle
from curricle.curriculum.labels import read_labels
from curricle.runtime.files import read_json
from difficulty.nano_pair import save_pair, write_rows

pytestmark = pytest.mark.usefixtures("libraries")
NUM = 40
STAGES = {"strategy": "layer_wise_progressive", "layers": "all"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    cloud, edge = save_pair(tmp_path_factory.mktemp("models"))
    return {"cloud": str(cloud), "edge": str(edge)}


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(Path("train.jsonl"), NUM)


def recipe(models: dict[str, str], **changes: Any) -> dict[str, Any]:
    return {
        "name": "l",
        "model": {"name_or_path": models["edge"], "pad_token": "<|endoftext|>"},
        "data": {"train": "train.jsonl", "max_length": 64},
        "difficulty": {"cloud": models["cloud"], "baselines": ["length", "loss", "gap"]},
        "curriculum": {"labels": "score", **STAGES},
        "training": {"max_steps": 2, "per_device_train_batch_size": 2, "save_strategy": "no", "use_cpu": True},
        **changes,
    }


def made() -> list[Path]:
    return sorted(Path("runs/l/labels").glob("*.parquet"))


def cost_of(arm: str, seed: int = 42) -> float:
    return float(read_json(Path(f"runs/l/{arm}/seed-{seed}/results.json"))["label_flops"])


def test_arms_and_seeds_share_what_is_made_once(models: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    arms = {
        "shuffled": {"curriculum": {"strategy": "none"}},
        "mean": {},
        "loss": {"curriculum": {"column": "loss"}},
        "length": {"curriculum": {"column": "length"}},
        "random": {"curriculum": {"control": "random_curriculum"}},
        "untouched": {"trainer": "none"},
    }
    asked = recipe(models, arms=arms, seeds=[0, 1])
    curricle.run(asked)
    [path] = made()
    labels = read_labels(path)
    assert len(labels) == NUM
    assert labels.about["fingerprint"] == path.stem
    columns = labels.about["cost"]["columns"]
    assert columns["mean"] == columns["layers"] > columns["loss"] > columns["length"] == 0
    assert columns["gap"] > columns["loss"]
    assert columns["mean"] + columns["gap"] == pytest.approx(labels.flops)
    for seed in (0, 1):
        assert cost_of("mean", seed) == columns["mean"]
        assert cost_of("loss", seed) == columns["loss"]
        for free in ("shuffled", "length", "random", "untouched"):
            assert cost_of(free, seed) == 0
    assert capsys.readouterr().err.count("labels: cloud") == 1
    written = path.stat().st_mtime_ns
    curricle.run(asked, arms=["mean"], seeds=[2])
    assert made() == [path]
    assert path.stat().st_mtime_ns == written
