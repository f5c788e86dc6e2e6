"""Two processes of a torchrun label, probe and train together; a run that was killed while it labels goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from curricle.curriculum.labels import read_labels
from curricle.runtime.files import read_json
from difficulty.nano_pair import save_pair, write_rows
from slow.test_ranks import torchrun

pytestmark = pytest.mark.slow
NUM = 60


def recipe(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "model": {"name_or_path": "models/edge", "pad_token": "<|endoftext|>"},
        "data": {"train": "train.jsonl", "max_length": 64},
        "difficulty": {"cloud": "models/cloud", "analyze": True, "probe_folds": 2},
        "curriculum": {"strategy": "easy_to_hard", "labels": "score"},
        "training": {"max_steps": 2, "per_device_train_batch_size": 1, "save_strategy": "no", "use_cpu": True},
        "arms": {"mean": {}, "loss": {"curriculum": {"column": "loss"}}, "l2": {"difficulty": {"metric": "l2"}}},
    }


def test_two_ranks_label_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import curricle

    monkeypatch.chdir(tmp_path)
    save_pair(Path("models"))
    write_rows(Path("train.jsonl"), NUM)
    Path("recipe.yaml").write_text(yaml.safe_dump(recipe("two")))
    code, said = torchrun(tmp_path, "-m", "curricle", "run", "recipe.yaml", "--smoke")
    assert code == 0, said
    code, said = torchrun(tmp_path, "-m", "curricle", "run", "recipe.yaml")
    assert code == 0, said
    assert said.count("labels: cloud") == 2, said
    curricle.run(recipe("one"))
    folders = [Path(f"runs/{name}/labels") for name in ("one", "two")]
    names = [{path.name for path in folder.iterdir()} for folder in folders]
    assert names[0] == names[1]
    assert len(names[0]) == 6, "labels, probe and analysis of two metrics"
    for name in names[0]:
        if name.endswith(".parquet") and "probe" not in name:
            one, two = (read_labels(folder / name) for folder in folders)
            for column, values in one.columns.items():
                np.testing.assert_allclose(two.columns[column], values, atol=1e-5, err_msg=column)
            assert two.about["cost"]["flops"] == pytest.approx(one.about["cost"]["flops"])
            assert read_json(folders[1] / name.replace(".parquet", "-analysis") / "analysis.json")["foresight"]
    costs = [read_json(Path(f"runs/two/{arm}/seed-42/results.json"))["label_flops"] for arm in ("mean", "loss", "l2")]
    assert costs[0] == costs[2] > costs[1] > 0
