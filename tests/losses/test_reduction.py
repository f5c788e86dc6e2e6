"""The rule of reduction: its arithmetic; what it guarantees in training is in tests/invariants/test_losses.py."""

from __future__ import annotations

import pytest
import torch

from curricle.losses import count_step, count_supervised, reduce_heads, reduce_loss


def test_the_example_of_the_docstring() -> None:
    shares = [reduce_loss(torch.tensor(sum(part)), 5) for part in ([1.0, 1.0, 1.0, 1.0], [3.0])]
    assert sum(shares).item() == pytest.approx(1.4)


def test_counting_leaves_out_first_labels_and_ignored_ones() -> None:
    labels = torch.tensor([[3, 4, -100, 5], [-100, -100, -100, 6]])
    assert count_supervised(labels).item() == 3
    assert count_step([labels, labels[:1]]).item() == 5
    assert count_step([]).item() == 0


def test_each_head_has_its_own_count_and_coefficient() -> None:
    sums = {"next": torch.tensor(6.0), "second": torch.tensor(8.0)}
    counts = {"next": 3, "second": torch.tensor(2)}
    assert reduce_heads(sums, counts).item() == 6.0
    assert reduce_heads(sums, counts, {"second": 0.25}, world_size=2).item() == 2 * (2.0 + 0.25 * 4.0)


def test_no_token_anywhere_is_zero_and_connected() -> None:
    nothing = torch.zeros((), requires_grad=True)
    for count in (0, torch.tensor(0)):
        loss = reduce_loss(nothing * 1, count)
        assert loss.item() == 0.0
        assert torch.autograd.grad(loss, nothing)[0].isfinite()
