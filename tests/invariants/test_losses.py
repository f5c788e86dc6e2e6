"""What METHODS promises of losses and weights: uniform weights change nothing, weights act linearly, a zero weight is
silence, and neither accumulation nor ranks show in the gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from curricle.losses import count_step, flatten, keep_mask, reduce_loss, token_losses, weighted_loss

VOCAB, HIDDEN, NUM = 61, 12, 45


@pytest.fixture(params=[torch.float32, torch.bfloat16, torch.float64], ids=str)
def leaves(request: pytest.FixtureRequest) -> list[Tensor]:
    make = torch.Generator().manual_seed(3)
    shapes = [(NUM, HIDDEN), (VOCAB, HIDDEN)]
    return [torch.randn(shape, generator=make).to(request.param).requires_grad_() for shape in shapes]


@pytest.fixture
def targets() -> Tensor:
    return torch.randint(VOCAB, (NUM,), generator=torch.Generator().manual_seed(4))


def known(leaves: list[Tensor], targets: Tensor, weights: Tensor | None) -> list[Tensor]:
    """Value and gradients where weights are known beforehand."""
    total, _ = weighted_loss(*leaves, targets, weights, chunk=16, rows=20)
    return [total.detach(), *torch.autograd.grad(total, leaves)]


def unknown(leaves: list[Tensor], targets: Tensor, weights: Tensor | None) -> list[Tensor]:
    """Value and gradients where weights follow from losses."""
    losses = token_losses(*leaves, targets, chunk=16)
    total = losses.sum() if weights is None else (losses * weights).sum()
    return [total.detach(), *torch.autograd.grad(total, leaves)]


@pytest.mark.parametrize("path", [known, unknown])
def test_weights_of_one_are_no_weights_bit_for_bit(path, leaves, targets) -> None:  # type: ignore[no-untyped-def]
    ones = torch.ones(NUM, dtype=torch.promote_types(leaves[0].dtype, torch.float32))
    pairs = zip(path(leaves, targets, None), path(leaves, targets, ones), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("path", [known, unknown])
def test_no_weights_is_plain_cross_entropy(path, leaves, targets) -> None:  # type: ignore[no-untyped-def]
    plain = F.cross_entropy(
        F.linear(*leaves).to(torch.promote_types(leaves[0].dtype, torch.float32)), targets, reduction="sum"
    )
    expected = [plain.detach(), *torch.autograd.grad(plain, leaves)]
    tolerance = {torch.float64: 1e-13, torch.float32: 3e-6, torch.bfloat16: 1.5e-2}[leaves[0].dtype]
    for one, other in zip(path(leaves, targets, None), expected, strict=True):
        assert (one - other).abs().max() <= tolerance * other.abs().max()


@pytest.mark.parametrize("path", [known, unknown])
def test_scaling_all_weights_scales_loss_and_gradient(path, leaves, targets) -> None:  # type: ignore[no-untyped-def]
    weights = torch.rand(NUM, generator=torch.Generator().manual_seed(5))
    for one, scaled in zip(path(leaves, targets, weights), path(leaves, targets, weights * 4), strict=True):
        assert torch.equal(one * 4, scaled)  # a power of two, so that rounding does not enter


@pytest.mark.parametrize("path", [known, unknown])
def test_a_token_of_weight_zero_is_silent(path, leaves, targets) -> None:  # type: ignore[no-untyped-def]
    weights = torch.rand(NUM, generator=torch.Generator().manual_seed(6))
    weights[::4] = 0
    total, hidden_grad, weight_grad = path(leaves, targets, weights)
    assert (hidden_grad[::4] == 0).all()
    changed = targets.clone()
    changed[::4] = (targets[::4] + 1) % VOCAB
    again = path(leaves, changed, weights)
    assert all(torch.equal(one, other) for one, other in zip((total, hidden_grad, weight_grad), again, strict=True))


def test_no_gradient_flows_through_the_weights(leaves, targets) -> None:  # type: ignore[no-untyped-def]
    weights = torch.rand(NUM).requires_grad_()
    total, _ = weighted_loss(*leaves, targets, weights)
    assert torch.autograd.grad(total, weights, allow_unused=True) == (None,)


def test_doubling_every_weight_of_a_step_doubles_it(targets) -> None:  # type: ignore[no-untyped-def]
    """Divided by the number of tokens, not by the sum of their weights, which would cancel."""
    losses = torch.rand(NUM, dtype=torch.float64)
    one, two = (reduce_loss((losses * w).sum(), NUM) for w in (1.0, 2.0))
    assert two.item() == 2 * one.item()


def ragged_batch() -> tuple[Tensor, Tensor]:
    """Eight rows with very different numbers of supervised tokens, one of them without any."""
    make = torch.Generator().manual_seed(7)
    hidden = torch.randn(8, 12, HIDDEN, generator=make, dtype=torch.float64)
    labels = torch.randint(VOCAB, (8, 12), generator=make)
    for row, learned in enumerate([11, 1, 0, 7, 3, 11, 2, 5]):
        labels[row, : 12 - learned] = -100
    return hidden, labels


def step_gradients(weight: Tensor, parts: list[list[int]], known_beforehand: bool, world_size: int = 1) -> list[Tensor]:
    """Gradients of a linear model summed over micro batches of these rows."""
    hidden, labels = ragged_batch()
    matrix = torch.eye(HIDDEN, dtype=torch.float64, requires_grad=True)
    head = weight.clone().requires_grad_()
    count = count_step([labels])
    for rows in parts:
        keep = keep_mask(labels[rows])
        tokens = flatten(labels[rows], keep, {})
        states = (hidden[rows] @ matrix)[keep]
        if known_beforehand:
            loss, _ = weighted_loss(states, head, tokens.target_n, chunk=16)
        else:
            loss = token_losses(states, head, tokens.target_n, chunk=16).sum()
        reduce_loss(loss, count, world_size=world_size).backward()
    return [matrix.grad, head.grad]  # type: ignore[list-item]


@pytest.mark.parametrize("known_beforehand", [True, False])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_accumulation_over_ragged_masks_is_one_batch(size: int, known_beforehand: bool) -> None:
    weight = torch.randn(VOCAB, HIDDEN, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    whole = step_gradients(weight, [list(range(8))], known_beforehand)
    parts = [list(range(start, start + size)) for start in range(0, 8, size)]
    for one, other in zip(step_gradients(weight, parts, known_beforehand), whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_a_mean_of_means_would_not_be() -> None:
    """The fault that the rule avoids is visible on this batch."""
    _, labels = ragged_batch()
    counts = [count_step([labels[:4]]).item(), count_step([labels[4:]]).item()]
    assert counts[0] != counts[1]


def test_ranks_that_average_gradients_give_one_batch() -> None:
    weight = torch.randn(VOCAB, HIDDEN, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    whole = step_gradients(weight, [list(range(8))], True)
    ranks = [step_gradients(weight, [rows], True, world_size=2) for rows in ([0, 1, 2, 3], [4, 5, 6, 7])]
    for first, second, expected in zip(*ranks, whole, strict=True):
        torch.testing.assert_close((first + second) / 2, expected, rtol=1e-12, atol=1e-14)
