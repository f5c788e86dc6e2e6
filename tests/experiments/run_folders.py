"""Folders of runs in any state, as training would leave them, without the training."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import yaml

RECIPE: dict[str, Any] = {
    "name": "x",
    "trainer": "hf",
    "training": {"max_steps": -1},
    "evaluation": [{"metric": "loss"}],
    "arms": {"base": {}, "long": {"training": {"max_steps": 200}}, "untouched": {"trainer": "none"}},
    "seeds": [0, 1],
}


def experiment(place: Path) -> Path:
    """The folder of an experiment of three arms and two seeds, none begun."""
    folder = place / "runs" / "x"
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE, sort_keys=False), encoding="utf-8")
    return folder


def begin(run: Path, steps: int = 0, planned: int = 100, seconds: float = 2.0, age: float = 0.0) -> Path:
    """A run with so many steps in its log, last touched `age` seconds ago."""
    run.mkdir(parents=True)
    (run / "arm.json").write_text("{}")
    rows = [
        {"step": k + 1, "planned_steps": planned, "loss": 9 - k / 100, "seconds": seconds, "tokens_per_second": 1500.0}
        for k in range(steps)
    ]
    if rows:
        (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for path in run.iterdir():
        stamp = path.stat().st_mtime - age
        os.utime(path, (stamp, stamp))
    return run


def finish(run: Path, **results: Any) -> None:
    (run / "model").mkdir(exist_ok=True)
    whole = {"steps": 100, "seconds": 200.0, "train_loss": 1.5, "metrics": {"loss": 2.25}, "measuring_seconds": 30.0}
    (run / "results.json").write_text(json.dumps(whole | results))
