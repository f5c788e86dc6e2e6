"""What `torchrun` starts on every rank for the tests of depth: short runs whose layers are closed or gated."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback

from curricle.curriculum.layer_specific import LayerPace, LayerSpecific
from curricle.curriculum.layers import Depth, StagedLayers
from curricle.data.rows import Rows
from curricle.runtime.files import write_json
from curricle.runtime.ranks import rank
from curricle.training.config import FsdpConfig
from curricle.training.depth import layer_stack
from curricle.training.hf import Trainer
from slow.ranks import sharded_on_cpu
from support import arguments, lora, model, table

STEPS = 6


def depth_of(kind: str) -> Depth:
    """Layers one after the other; or documents of which layer 0 sees the first half only, and layer 1 none at first."""
    if kind != "specific":
        return StagedLayers([[0], [1]])
    easier_nl = np.stack([np.arange(40), np.full(40, 39)], axis=1).astype(np.int32)
    return LayerSpecific(easier_nl, LayerPace((0.5, 1.0)))


class Moves(TrainerCallback):
    """Which layers' tensors move, step by step; of a sharded tensor this rank's part."""

    def __init__(self, net: Any) -> None:
        self.net = net
        self.before: Any = None
        self.moves: list[list[bool]] = []

    def _values(self) -> list[list[torch.Tensor]]:
        blocks = layer_stack(self.net)
        whole = [[p.detach() for p in block.parameters() if p.requires_grad] for block in blocks]
        return [[(p.full_tensor() if hasattr(p, "full_tensor") else p).clone() for p in one] for one in whole]

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.before = self._values()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        pairs = zip(self.before, self._values(), strict=True)
        self.moves.append([any(not torch.equal(a, b) for a, b in zip(x, y, strict=True)) for x, y in pairs])


def carry_out(folder: Path, kind: str, sharded: bool, accumulation: int) -> None:
    torch.set_num_threads(1)
    net = model() if kind == "full" else lora(model())
    changes: dict[str, Any] = FsdpConfig().arguments() if sharded else {}
    settings = {"max_steps": STEPS, "weight_decay": 0.1, "learning_rate": 1e-3, "lr_scheduler_type": "constant"}
    args = arguments(folder, gradient_accumulation_steps=accumulation, **settings, **changes)
    host = sharded_on_cpu(Trainer) if sharded else Trainer
    run: Any = host(net, args, train_dataset=table(), rows=Rows(64, lookahead=8), depth=depth_of(kind))
    moves = Moves(run.model)
    run.add_callback(moves)
    run.train()
    write_json(folder / f"moves-{rank()}.json", {"moves": moves.moves, "wrapped": type(run.model_wrapped).__name__})
    run.save_model(str(folder / "final"))


if __name__ == "__main__":
    base = Path(sys.argv[1])
    for kind in ("full", "lora", "specific"):
        carry_out(base / f"two-{kind}", kind, sharded=False, accumulation=1)
    for kind in ("full", "lora", "specific"):
        carry_out(base / f"fsdp-{kind}", kind, sharded=True, accumulation=1)
