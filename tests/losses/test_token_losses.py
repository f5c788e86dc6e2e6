"""Both fast paths against full-logits cross-entropy, value and gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from curricle.errors import ModelError, TrainingError
from curricle.losses import reference_token_losses, token_losses, weighted_loss

VOCAB, HIDDEN = 53, 16
FORMS = {
    "plain": {},
    "bias": {"bias": True},
    "softcap": {"softcap": 3.0},
    "scale": {"scale": 0.25},
    "all": {"bias": True, "softcap": 3.0, "scale": 2.0},
}
TOLERANCE = {torch.float64: 1e-13, torch.float32: 5e-6, torch.bfloat16: 2e-2, torch.float16: 3e-3}


def inputs(num_tokens: int, dtype: torch.dtype, form: str = "plain", seed: int = 0) -> tuple[list[Tensor], Tensor, Any]:
    """(hidden, weight and perhaps bias), targets, and the keyword arguments of the form."""
    make = torch.Generator().manual_seed(seed)
    shapes = [(num_tokens, HIDDEN), (VOCAB, HIDDEN), (VOCAB,)]
    hidden, weight, bias = (torch.randn(s, generator=make).to(dtype).requires_grad_() for s in shapes)
    options = dict(FORMS[form])
    leaves = [hidden, weight, bias] if options.pop("bias", False) else [hidden, weight]
    targets = torch.randint(VOCAB, (num_tokens,), generator=make)
    return leaves, targets, options | ({"bias": bias} if len(leaves) == 3 else {})


def gradients(loss: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(loss, leaves))


def assert_close(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    """Relative to the largest entry: single entries of a half-precision gradient are rounded."""
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        if other.numel():
            assert (one - other).abs().max() <= tolerance * other.abs().max().clamp(min=1e-3)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("num_tokens", "chunk"), [(0, None), (1, 7), (37, 7), (37, 53), (37, None)])
def test_both_paths_equal_the_reference(form: str, dtype: torch.dtype, num_tokens: int, chunk: int | None) -> None:
    leaves, targets, options = inputs(num_tokens, dtype, form)
    weights = torch.rand(num_tokens, generator=torch.Generator().manual_seed(1))
    weights[::3] = 0
    expected = reference_token_losses(*leaves[:2], targets, **options)
    wanted = gradients((expected * weights).sum(), leaves)

    losses = token_losses(*leaves[:2], targets, chunk=chunk, **options)
    assert_close([losses, *gradients((losses * weights).sum(), leaves)], [expected, *wanted], TOLERANCE[dtype])

    for rows in (None, 8):
        total, losses = weighted_loss(*leaves[:2], targets, weights, chunk=chunk, rows=rows, **options)
        assert not losses.requires_grad
        assert_close([losses, *gradients(total, leaves)], [expected, *wanted], TOLERANCE[dtype])
        assert total.item() == (losses * weights).sum().item()


@pytest.mark.parametrize("path", ["losses", "weighted"])
@pytest.mark.parametrize("needs", range(8))
def test_only_inputs_that_need_a_gradient_get_one(needs: int, path: str) -> None:
    leaves, targets, options = inputs(20, torch.float64, "all")
    frozen = [leaf for i, leaf in enumerate(leaves) if not needs >> i & 1]
    trained = [leaf for i, leaf in enumerate(leaves) if needs >> i & 1]
    for leaf in frozen:
        leaf.requires_grad_(False)
    if path == "losses":
        loss = token_losses(*leaves[:2], targets, chunk=9, **options).sum()
    else:
        loss = weighted_loss(*leaves[:2], targets, None, chunk=9, rows=6, **options)[0]
    assert loss.requires_grad == bool(trained)
    if trained:
        wanted = gradients(reference_token_losses(*leaves[:2], targets, **options).sum(), trained)
        assert_close(gradients(loss, trained), wanted, 1e-13)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("param_dtype", [torch.float32, torch.bfloat16])
def test_autocast_computes_as_linear_and_cross_entropy_do(form: str, param_dtype: torch.dtype) -> None:
    leaves, targets, options = inputs(37, torch.float32, form)
    leaves = [leaf.detach().to(param_dtype).requires_grad_() for leaf in leaves]
    if "bias" in options:
        options["bias"] = leaves[2]
    leaves[0] = leaves[0].detach().bfloat16().requires_grad_()  # what a layer under autocast hands over
    weights = torch.rand(37)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = reference_token_losses(*leaves[:2], targets, **options)
        losses = token_losses(*leaves[:2], targets, chunk=11, **options)
        total, known = weighted_loss(*leaves[:2], targets, weights, chunk=11, rows=10, **options)
    full = reference_token_losses(
        *(x.float() for x in leaves[:2]),
        targets,
        **options | ({"bias": leaves[2].float()} if "bias" in options else {}),
    )
    assert (losses - expected).abs().max() <= 1e-5  # the same bfloat16 products,
    assert (expected - full).abs().max() > 1e-4  # which are not float32 products
    torch.testing.assert_close(known, losses, rtol=1e-6, atol=1e-6)
    wanted = gradients((expected * weights).sum(), leaves)
    assert_close(gradients((losses * weights).sum(), leaves), wanted, 2e-2)
    assert_close(gradients(total, leaves), wanted, 2e-2)


def test_backward_inside_autocast_is_the_same_as_outside() -> None:
    leaves, targets, _ = inputs(37, torch.float32)
    found = []
    for inside in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = token_losses(*leaves, targets).sum()
            if inside:
                found.append(gradients(loss, leaves))
        if not inside:
            found.append(gradients(loss, leaves))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_a_non_contiguous_hidden_state_and_a_tied_weight_are_fine() -> None:
    leaves, targets, _ = inputs(37, torch.float64)
    weight = leaves[1]
    hidden = (weight[:37] * 2).t().contiguous().t()
    wanted = gradients(reference_token_losses(hidden, weight, targets).sum(), [weight])
    hidden = (weight[:37] * 2).t().contiguous().t()
    assert_close(gradients(token_losses(hidden, weight, targets, chunk=7).sum(), [weight]), wanted, 1e-13)


def test_large_logits_neither_overflow_nor_vanish() -> None:
    leaves, targets, _ = inputs(37, torch.float32)
    leaves = [leaf.detach().mul(100).requires_grad_() for leaf in leaves]
    expected = reference_token_losses(*leaves, targets)
    losses = token_losses(*leaves, targets, chunk=5)
    assert torch.isfinite(losses).all()
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-2)
    assert_close(gradients(losses.sum(), leaves), gradients(expected.sum(), leaves), 1e-4)


def test_a_masked_out_vocabulary_has_no_share() -> None:
    """A bias of -inf, as some models use for padding of the vocabulary; here even the first strip is all masked."""
    leaves, _, _ = inputs(10, torch.float64)
    bias = torch.zeros(VOCAB, dtype=torch.float64)
    bias[:20] = -torch.inf
    targets = torch.arange(20, 30)
    expected = reference_token_losses(*leaves, targets, bias=bias)
    losses = token_losses(*leaves, targets, bias=bias, chunk=7)
    torch.testing.assert_close(losses, expected, rtol=1e-12, atol=1e-12)
    assert_close(gradients(losses.sum(), leaves), gradients(expected.sum(), leaves), 1e-12)


def test_no_gradient_work_without_gradients() -> None:
    leaves, targets, _ = inputs(37, torch.float32)
    with torch.no_grad():
        total, losses = weighted_loss(*leaves, targets)
    assert not total.requires_grad
    torch.testing.assert_close(losses, reference_token_losses(*leaves, targets).detach())


def test_a_second_backward_is_refused_where_the_gradient_is_made_once() -> None:
    leaves, targets, _ = inputs(5, torch.float32)
    total, _ = weighted_loss(*leaves, targets)
    total.backward(retain_graph=True)
    with pytest.raises(TrainingError, match="use token_losses"):
        total.backward()
    losses = token_losses(*leaves, targets).sum()  # makes it again: may run twice
    first = torch.autograd.grad(losses, leaves, retain_graph=True)
    again = torch.autograd.grad(losses, leaves)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


def test_a_loss_scale_reaches_float16_gradients_before_they_are_rounded() -> None:
    """Ten tokens of the vocabulary are so unlikely that their gradient is zero in float16, unless a scale lifts it."""
    leaves, targets, _ = inputs(37, torch.float16)
    unlikely = torch.zeros(VOCAB, dtype=torch.float16)
    unlikely[:10] = -18
    targets = targets.clamp(min=10)
    full = [leaf.detach().float().requires_grad_() for leaf in leaves]
    exact = reference_token_losses(*full, targets, bias=unlikely.float())
    exact_grad = gradients(exact.sum(), full[1:])[0][:10] * 1024
    scaled = gradients(weighted_loss(*leaves, targets, bias=unlikely)[0] * 1024, leaves[1:])[0][:10].float()
    assert 0 < exact_grad.abs().mean() / 1024 < 2.0**-24
    assert (scaled - exact_grad).abs().max() < 0.01 * exact_grad.abs().max()


def test_a_target_outside_the_vocabulary_is_not_a_number() -> None:
    leaves, targets, _ = inputs(5, torch.float32)
    targets[2], targets[3] = VOCAB, -100
    for losses in (token_losses(*leaves, targets), weighted_loss(*leaves, targets)[1]):
        assert losses.isnan().tolist() == [False, False, True, True, False]


def test_two_dtypes_without_autocast_are_refused_in_one_line() -> None:
    leaves, targets, _ = inputs(5, torch.float32)
    with pytest.raises(ModelError, match=r"torch\.bfloat16 hidden states and has a torch\.float32 weight"):
        token_losses(leaves[0].bfloat16(), leaves[1], targets)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu(form: str, dtype: torch.dtype) -> None:
    leaves, targets, options = inputs(37, dtype, form)
    leaves = [leaf.detach().cuda().requires_grad_() for leaf in leaves]
    if "bias" in options:
        options["bias"] = leaves[2]
    targets = targets.cuda()
    expected = reference_token_losses(*leaves[:2], targets, **options)
    wanted = gradients(expected.sum(), leaves)
    losses = token_losses(*leaves[:2], targets, chunk=7, **options)
    total, _ = weighted_loss(*leaves[:2], targets, chunk=7, rows=8, **options)
    assert_close([losses, *gradients(losses.sum(), leaves)], [expected, *wanted], max(1e-4, TOLERANCE[dtype]))
    assert_close(gradients(total, leaves), wanted, max(1e-4, TOLERANCE[dtype]))
