"""The reference itself, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from curricle.losses import logit_losses, reference_token_losses


def test_two_tokens_of_a_vocabulary_of_two() -> None:
    hidden, weight = (
        torch.tensor([[1.0], [2.0]], dtype=torch.float64),
        torch.tensor([[0.0], [1.0]], dtype=torch.float64),
    )
    losses = reference_token_losses(hidden, weight, torch.tensor([1, 0]))
    assert losses.tolist() == pytest.approx([math.log(1 + math.exp(-1)), math.log(1 + math.exp(2))], rel=1e-12)


def test_scale_comes_before_the_cap() -> None:
    logits = torch.tensor([[0.0, 3.0]], dtype=torch.float64)
    capped = 2.0 * math.tanh(0.5 * 3.0 / 2.0)
    loss = logit_losses(logits, torch.tensor([1]), softcap=2.0, scale=0.5)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-capped)), rel=1e-12)


def test_half_precision_logits_are_summed_in_float32() -> None:
    losses = logit_losses(torch.randn(3, 5, dtype=torch.bfloat16), torch.tensor([0, 1, 2]))
    assert losses.dtype == torch.float32
