"""What `torchrun` starts on every rank for the tests of a critic: short runs with a value head."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from curricle.data.rows import Rows
from curricle.models.config import AdapterConfig
from curricle.models.loading import add_adapter
from curricle.models.value_head import add_value_head, value_head_of
from curricle.runtime.files import write_json
from curricle.runtime.ranks import rank
from curricle.training.config import FsdpConfig
from curricle.training.critic_config import CriticConfig
from curricle.training.hf import Trainer
from curricle.weighting.td_error import TDError
from slow.ranks import sharded_on_cpu
from support import arguments, model, mtp
from training.test_critic import table

STEPS = 4
CRITICS: dict[str, dict[str, Any] | None] = {
    "joint": {"value_clip": 0.1, "ema_decay": 0.5, "anchor_coef": 0.1},
    "frozen": {"stage": "pretrain"},
    "trunk": {"stage": "pretrain", "freeze_trunk": False},
    "lora": {"value_clip": 0.1, "ema_decay": 0.5},
    "heads": {"value_clip": 0},
    "listed": {"value_clip": 0},
    "again": {"value_clip": 0.1},
    "unread": None,
    "unread-lora": None,
}
"""None: a model with a value head, and nothing that teaches it."""
WHOLE = ("joint", "frozen", "trunk", "lora", "unread", "unread-lora")
LISTED = ["LlamaDecoderLayer", "ValueHead"]


def carry_out(folder: Path, kind: str, sharded: bool, accumulation: int) -> None:
    torch.set_num_threads(1)
    net: Any = mtp(2) if kind == "heads" else model(tie_word_embeddings=False)
    add_value_head(net)
    if kind.endswith("lora"):
        torch.manual_seed(1)
        net = add_adapter(net, AdapterConfig(lora_r=4))
    critic = CRITICS[kind]
    head = value_head_of(net)
    layers = LISTED if kind == "listed" else None
    changes: dict[str, Any] = FsdpConfig(layers=layers).arguments(kind == "again") if sharded else {}
    settings = {"max_steps": STEPS, "learning_rate": 1e-2, "per_device_train_batch_size": 1, **changes}
    args = arguments(folder, gradient_accumulation_steps=accumulation, **settings)
    host = sharded_on_cpu(Trainer) if sharded else Trainer
    run: Any = host(
        net,
        args,
        train_dataset=table(40),
        eval_dataset=table(9, seed=5),
        rows=Rows(32, lookahead=8),
        weighting=None if critic is None else TDError(gae_lambda=1.0),
        critic=None if critic is None else CriticConfig(**critic),
    )
    run.train()
    names = ("norm.weight", "bias", "value_weight")
    shares = {name: type(head.get_parameter(name).data).__name__ for name in names}
    seen = {"wrapped": type(run.model_wrapped).__name__, "head": shares, "evaluation": run.evaluate()}
    write_json(folder / f"seen-{rank()}.json", seen)
    run.save_model(str(folder / "final"))


if __name__ == "__main__":
    base = Path(sys.argv[1])
    for kind in WHOLE:
        carry_out(base / f"two-{kind}", kind, sharded=False, accumulation=2)
    for kind in CRITICS:
        carry_out(base / f"fsdp-{kind}", kind, sharded=True, accumulation=2)
