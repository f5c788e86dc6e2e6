"""What `torchrun` starts on every rank for the tests of weightings: short runs, each with another weighting."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from curricle.data.rows import Rows
from curricle.training.hf import Trainer
from curricle.weighting import WeightingConfig, build_weighting
from support import arguments, model, table

KINDS: dict[str, dict[str, Any]] = {
    "chosen": {"kind": "reference_excess", "reference": "any", "scope": "global"},
    "soft": {"kind": "reference_excess", "reference": "any", "scope": "global", "softness": 0.5},
    "lot": {"kind": "random_tokens", "scope": "global"},
    "shuffled": {"kind": "own_probability", "control": "shuffled"},
    "matched": {"kind": "own_probability", "control": "random_matched"},
    "gate": {"kind": "correct_only", "normalize": True, "scope": "global"},
}
ROWS = 4
"""Of a step, over all ranks."""


def carry_out(folder: Path, kind: str, ranks: int) -> None:
    torch.set_num_threads(1)
    rows = table()
    rewards = (np.arange(len(rows)) % 3 == 0).astype(np.float32)
    settings = {"max_steps": 4, "learning_rate": 1e-3, "per_device_train_batch_size": ROWS // ranks}
    run = Trainer(
        model(),
        arguments(folder, **settings),
        train_dataset=replace(rows, rewards=rewards),
        rows=Rows(64, lookahead=8),
        weighting=build_weighting(WeightingConfig.model_validate(KINDS[kind]), seed=3),
        reference_losses=np.random.default_rng(0).normal(4.5, 0.5, len(rows.tokens)).astype(np.float32),
    )
    run.train()
    run.save_model(str(folder / "final"))


if __name__ == "__main__":
    for kind in KINDS:
        carry_out(Path(sys.argv[1]) / f"two-{kind}", kind, ranks=2)
