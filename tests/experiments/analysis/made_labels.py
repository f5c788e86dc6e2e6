"""Label files whose truth is known: a score that half follows the target, a baseline that does, one that flees it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from curricle.curriculum.labels import write_labels
from curricle.data.config import DataConfig
from curricle.data.sources import read_examples
from curricle.runtime.files import sha256_file

NUM = 200


def write_rows(path: Path, num: int = NUM) -> list[str]:
    """Rows of prompt and completion; their ids."""
    rows = [{"prompt": f"question {i} <b>", "completion": f"answer {i}"} for i in range(num)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return [example.id for example in read_examples(DataConfig(train=str(path)), "train")]


def made_columns(num: int = NUM, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Scores, layers and the target."""
    rng = np.random.default_rng(seed)
    target = rng.normal(size=num)
    layers = np.stack(
        [target * share + rng.normal(size=num) + at for at, share in ((0, 0.0), (5, 0.5), (2, 1.0))], axis=1
    )
    scaled = (layers - layers.mean(0)) / layers.std(0)
    scores = {
        "mean": scaled.mean(1),
        "max": scaled.max(1),
        "length": np.round(np.exp(4 + 0.3 * target + rng.normal(size=num))),
        "loss": target + 0.2 * rng.normal(size=num),
        "quality": -target + 0.5 * rng.normal(size=num),
    }
    return scores, layers, target


def write_made(folder: Path, name: str = "labels.parquet", seed: int = 0, **more: np.ndarray) -> Path:
    """Labels of `rows.jsonl`, which is made too; `probe.parquet` beside them has the target."""
    ids = write_rows(folder / "rows.jsonl")
    scores, layers, target = made_columns(seed=seed)
    data = [{"path": str(folder / "rows.jsonl"), "sha256": sha256_file(folder / "rows.jsonl")}]
    about: dict[str, Any] = {"what": "a test", "models": {"cloud": {"name": "large"}, "edge": {"name": "small"}}}
    write_labels(folder / name, ids, {**scores, **more}, layers, {**about, "data": data, "cost": {"flops": 1e9}})
    write_labels(folder / "probe.parquet", ids, {"probe": target + 3, "probe_tokens": np.full(NUM, 7)})
    return folder / name
