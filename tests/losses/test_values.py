"""Losses of values: against loops over plain floats, and where the clip takes the gradient away."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from curricle.losses.values import num_clipped, value_losses

GENERATOR = torch.Generator().manual_seed(0)
SCORES = torch.randn(40, generator=GENERATOR, dtype=torch.float64) * 2
REWARDS = (torch.arange(40) % 2).double()


def distance(value: float, reward: float, loss: str, delta: float) -> float:
    """One state's loss, by its definition."""
    if loss == "bce":
        return -(reward * math.log(value) + (1 - reward) * math.log(1 - value))
    off = abs(value - reward)
    if loss == "huber" and off > delta:
        return delta * (off - delta / 2)
    return off * off / 2


def reference(loss: str, bounded: bool, old: list[float] | None, clip: float, delta: float) -> list[float]:
    losses = []
    for i, (score, reward) in enumerate(zip(SCORES.tolist(), REWARDS.tolist(), strict=True)):
        value = 1 / (1 + math.exp(-score)) if bounded else score
        free = distance(value, reward, loss, delta)
        if old is not None:
            near = old[i] + max(-clip, min(clip, value - old[i]))
            free = max(free, distance(near, reward, loss, delta))
        losses.append(free)
    return losses


@pytest.mark.parametrize(("loss", "bounded"), [("mse", False), ("mse", True), ("huber", False), ("bce", True)])
@pytest.mark.parametrize("clipped", [False, True])
def test_losses_are_their_definition(loss: Any, bounded: bool, clipped: bool) -> None:
    old_n = torch.rand(40, generator=torch.Generator().manual_seed(1), dtype=torch.float64) if clipped else None
    clip = 0.2 if clipped else None
    found = value_losses(SCORES, REWARDS, loss, bounded=bounded, old_n=old_n, clip=clip, delta=0.5)
    expected = reference(loss, bounded, None if old_n is None else old_n.tolist(), 0.2, 0.5)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(("loss", "bounded"), [("mse", False), ("mse", True), ("huber", False), ("bce", True)])
@pytest.mark.parametrize("clipped", [False, True])
def test_gradients_are_those_of_finite_differences(loss: Any, bounded: bool, clipped: bool) -> None:
    old_n = torch.full((40,), 0.4, dtype=torch.float64) if clipped else None
    score_n = SCORES.clone().requires_grad_()
    given: dict[str, Any] = {"bounded": bounded, "old_n": old_n, "clip": 0.2 if clipped else None, "delta": 0.5}
    assert torch.autograd.gradcheck(lambda s: value_losses(s, REWARDS, loss, **given), (score_n,))


@pytest.mark.parametrize(("loss", "bounded"), [("mse", False), ("bce", True)])
def test_a_value_that_has_moved_far_enough_learns_no_more(loss: Any, bounded: bool) -> None:
    """Towards the reward of 1 there is no gradient beyond old + clip; on the way back there is."""
    values = torch.tensor([0.4, 0.65, 0.75, 0.1], dtype=torch.float64)
    score_n = (values.logit() if bounded else values).requires_grad_()
    old_n = torch.full((4,), 0.5, dtype=torch.float64)
    value_losses(score_n, torch.ones(4).double(), loss, bounded=bounded, old_n=old_n, clip=0.2).sum().backward()
    assert score_n.grad is not None
    assert score_n.grad[0] < 0
    assert score_n.grad[1] < 0
    assert score_n.grad[2] == 0
    assert score_n.grad[3] < 0
    assert num_clipped(values, old_n, 0.2) == 2


def test_without_an_old_value_the_clip_has_nothing_to_say() -> None:
    assert torch.equal(value_losses(SCORES, REWARDS, clip=0.2), value_losses(SCORES, REWARDS))


def test_an_old_value_that_is_the_present_one_clips_nothing() -> None:
    """What a single pass over stored data does: V_old is V."""
    assert torch.equal(value_losses(SCORES, REWARDS, old_n=SCORES, clip=0.2), value_losses(SCORES, REWARDS))


def test_cross_entropy_takes_logits_beyond_what_a_probability_can_say() -> None:
    score_n = torch.tensor([-200.0, 200.0], requires_grad=True)
    loss_n = value_losses(score_n, torch.tensor([1.0, 0.0]), "bce", bounded=True)
    loss_n.sum().backward()
    assert loss_n.tolist() == [200.0, 200.0]
    assert score_n.grad is not None
    assert score_n.grad.tolist() == [-1.0, 1.0]


def test_no_state_has_no_loss() -> None:
    assert value_losses(torch.empty(0), torch.empty(0)).shape == (0,)
