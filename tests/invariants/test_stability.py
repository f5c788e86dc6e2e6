"""Clipping, warm-up and schedules (METHODS 5): what a step of ours does to gradients and to the learning rate.

The trainer clips through accelerate and schedules through transformers; these hold for the trainer as it is run, not
for the formula alone. That a sharded model (FSDP2) has the whole model's norm is tested in tests/slow.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from curricle.data.rows import Rows
from curricle.runtime.logs import JsonLog
from curricle.training.hf import Trainer
from support import arguments, model, table


class Gradients(TrainerCallback):
    """Keeps the gradients the optimizer is about to see."""

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self.seen.append(torch.cat([p.grad.flatten() for p in model.parameters()]).clone())


def step(folder: Path, max_grad_norm: float, factor: float = 1.0) -> tuple[torch.Tensor, float]:
    """The gradient after clipping in one step, and the norm that was logged. `factor` scales the loss by weights."""
    from curricle.weighting.base import Weighting

    class Scaled(Weighting):
        known_beforehand = True

        def __call__(self, tokens: Any) -> tuple[torch.Tensor, dict[str, float]]:
            return torch.full((len(tokens),), factor), {}

    run = Trainer(
        model(),
        arguments(folder, max_steps=1, max_grad_norm=max_grad_norm),
        train_dataset=table(),
        rows=Rows(max_length=64),
        weighting=Scaled(),
    )
    gradients = Gradients()
    run.add_callback(gradients)
    run.train()
    return gradients.seen[0], JsonLog(folder / "metrics.jsonl").rows()[0]["grad_norm"]


def test_clipping_shortens_and_does_not_turn(tmp_path: Path) -> None:
    whole, norm = step(tmp_path / "a", max_grad_norm=0.0)
    clipped, logged = step(tmp_path / "b", max_grad_norm=0.5)
    assert logged == norm == pytest.approx(float(whole.norm()), rel=1e-5)  # the norm before clipping
    assert norm > 0.5
    assert float(clipped.norm()) == pytest.approx(0.5, abs=1e-5)
    assert float(torch.cosine_similarity(whole.double(), clipped.double(), dim=0)) == pytest.approx(1.0, abs=1e-6)


def test_a_short_gradient_is_left_alone_to_the_bit(tmp_path: Path) -> None:
    whole, norm = step(tmp_path / "a", max_grad_norm=0.0)
    untouched, _ = step(tmp_path / "b", max_grad_norm=norm * 2)
    assert torch.equal(whole, untouched)


def test_two_long_gradients_of_one_direction_are_clipped_to_one(tmp_path: Path) -> None:
    one, _ = step(tmp_path / "a", max_grad_norm=0.1)
    two, _ = step(tmp_path / "b", max_grad_norm=0.1, factor=2.0)
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-7)


def rates(folder: Path, **changes: Any) -> list[float]:
    """The learning rate each step really used."""
    run = Trainer(model(), arguments(folder, max_steps=12, **changes), train_dataset=table(), rows=Rows(max_length=64))
    run.train(resume_from_checkpoint=True)
    return [row["learning_rate"] for row in JsonLog(folder / "metrics.jsonl").rows()]


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_warm_up_rises_to_the_peak_and_decay_falls_to_the_floor(tmp_path: Path, schedule: str) -> None:
    """transformers' schedules: step k of the run uses lr(k), so the first step of a warm-up has lr 0 (documented)."""
    lr = rates(tmp_path, lr_scheduler_type=schedule, warmup_steps=4, learning_rate=1e-2)
    peak = lr.index(max(lr))
    assert peak == 4
    assert lr[peak] == pytest.approx(1e-2)
    assert lr[0] == 0.0
    assert lr[: peak + 1] == sorted(lr[: peak + 1])
    assert lr[peak:] == sorted(lr[peak:], reverse=True)
    steps = [abs(b - a) for a, b in itertools.pairwise(lr)]
    assert max(steps) <= 1e-2 / 4 + 1e-9  # no jump at the joint
    one_more = 0.5 * (1 + math.cos(math.pi * 7 / 8)) if schedule == "cosine" else 1 / 8
    assert lr[-1] == pytest.approx(1e-2 * one_more)  # the floor, 0, is reached where the run ends


def test_a_floor_is_kept(tmp_path: Path) -> None:
    lr = rates(
        tmp_path, lr_scheduler_type="cosine_with_min_lr", lr_scheduler_kwargs={"min_lr": 1e-3}, learning_rate=1e-2
    )
    assert min(lr) >= 1e-3
    assert lr == sorted(lr, reverse=True)


def test_a_resumed_run_goes_on_with_the_same_learning_rate(tmp_path: Path) -> None:
    changes = {"lr_scheduler_type": "cosine", "warmup_steps": 3, "save_strategy": "steps", "save_steps": 5}
    whole = rates(tmp_path / "whole", **changes)
    rates(tmp_path / "broken", **changes)
    for folder in (tmp_path / "broken").glob("checkpoint-1*"):
        (folder / "trainer_state.json").unlink()  # as a kill leaves them: only checkpoint-5 is whole
    assert rates(tmp_path / "broken", **changes) == whole
