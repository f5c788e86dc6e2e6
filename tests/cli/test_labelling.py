"""Label, analyze and train as one command, from a recipe file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from curricle.cli import main
from difficulty.nano_pair import save_pair, write_rows

pytestmark = pytest.mark.usefixtures("libraries")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_pair(Path("models"))
    write_rows(Path("train.jsonl"), 40)
    recipe: dict[str, Any] = {
        "model": {"name_or_path": "models/edge", "pad_token": "<|endoftext|>"},
        "data": {"train": "train.jsonl", "max_length": 64},
        "difficulty": {"cloud": "models/cloud", "baselines": ["length", "loss"], "analyze": True},
        "curriculum": {"strategy": "easy_to_hard", "labels": "score"},
        "training": {"max_steps": 1, "per_device_train_batch_size": 2, "save_strategy": "no", "use_cpu": True},
    }
    Path("r.yaml").write_text(yaml.safe_dump(recipe))


def test_one_command_labels_analyzes_and_trains(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "order", "r.yaml"]) != 0
    assert "no labels yet to order by; `curricle run` makes them" in capsys.readouterr().err
    assert main(["run", "r.yaml", "--plan"]) == 0
    assert "40 rows scored by cloud models/cloud and edge models/edge" in capsys.readouterr().out
    assert main(["run", "r.yaml"]) == 0
    err = capsys.readouterr().err
    assert err.index("labels: cloud") < err.index("has their analysis") < err.index(": training")
    [report] = Path("runs/r/labels").glob("*-analysis/report.html")
    assert report.stat().st_size > 1000
    assert main(["inspect", "order", "r.yaml"]) == 0
    assert main(["analyze", str(next(Path("runs/r/labels").glob("*.parquet")))]) == 0


def test_the_way_out_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "r.yaml", "--set", "difficulty.cloud=null"]) != 0
    [line] = capsys.readouterr().err.strip().splitlines()[-1:]
    assert "`difficulty.cloud`" in line
    assert "`curricle score`" in line
