"""What `torchrun` starts on every rank for the tests of several heads: short runs of multi-token models."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from curricle.data.rows import Rows
from curricle.runtime.files import write_json
from curricle.runtime.ranks import rank
from curricle.training.config import FsdpConfig
from curricle.training.hf import Trainer
from slow.ranks import sharded_on_cpu
from support import arguments, lora, mtp, table

STEPS = 4


def carry_out(folder: Path, kind: str, sharded: bool, accumulation: int, again: bool = False) -> None:
    """Documents so short that a rank may have nothing for a later head."""
    torch.set_num_threads(1)
    net = mtp(3, "sequential" if kind == "sequential" else "parallel", tie_word_embeddings=kind != "untied")
    net = lora(net) if kind == "lora" else net
    changes: dict[str, Any] = FsdpConfig().arguments(again) if sharded else {}
    settings = {"max_steps": STEPS, "learning_rate": 1e-3, "per_device_train_batch_size": 1, **changes}
    args = arguments(folder, gradient_accumulation_steps=accumulation, **settings)
    host = sharded_on_cpu(Trainer) if sharded else Trainer
    data, rows = table(low=2, high=12), Rows(24, "none" if kind == "padded" else "ordered", lookahead=8)
    run: Any = host(net, args, train_dataset=data, eval_dataset=table(9, seed=5, low=2, high=12), rows=rows)
    run.train()
    parameters = sorted({type(weight.data).__name__ for weight in run.model.parameters()})
    seen = {"wrapped": type(run.model_wrapped).__name__, "parameters": parameters, "evaluation": run.evaluate()}
    write_json(folder / f"seen-{rank()}.json", seen)
    run.save_model(str(folder / "final"))


if __name__ == "__main__":
    base = Path(sys.argv[1])
    for kind in ("full", "lora", "sequential", "padded"):
        carry_out(base / f"two-{kind}", kind, sharded=False, accumulation=2)
    for kind in ("full", "lora", "sequential", "untied"):
        carry_out(base / f"fsdp-{kind}", kind, sharded=True, accumulation=2)
    carry_out(base / "fsdp-again", "full", sharded=True, accumulation=2, again=True)
