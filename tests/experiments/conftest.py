"""A small experiment that was really run, for everything that uses finished runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import curricle

RECIPE = {
    "name": "small",
    "model": {"name_or_path": "nano:llama", "shape": {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 1}},
    "data": {"train": "toy:dialogue#16", "eval": "toy:dialogue-eval#6", "format": "dialogue", "max_length": 384},
    "training": {"max_steps": 3, "per_device_train_batch_size": 2, "learning_rate": 1e-2, "save_strategy": "no"},
    "evaluation": [{"metric": "loss"}],
    "generation": {"max_new_tokens": 12},
    "arms": {"whole": {}, "lora": {"model": {"adapter": {"lora_r": 4}}}, "untouched": {"trainer": "none"}},
    "seeds": [3],
}


@pytest.fixture(scope="session")
def small_runs(tmp_path_factory: pytest.TempPathFactory, libraries: None) -> Path:
    """runs/small, with an arm trained whole, one with an adapter, and one not trained."""
    place, before = tmp_path_factory.mktemp("experiment"), Path.cwd()
    os.chdir(place)
    try:
        curricle.run(RECIPE)
    finally:
        os.chdir(before)
    return place / "runs" / "small"
