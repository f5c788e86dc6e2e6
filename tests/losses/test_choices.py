"""The largest logit, strip by strip, against argmax of all logits at once."""

from __future__ import annotations

import pytest
import torch

from curricle.losses.choices import first_choices


@pytest.mark.parametrize("chunk", [1, 7, 50, 64, None])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("biased", [False, True])
def test_equal_to_argmax(chunk: int | None, dtype: torch.dtype, biased: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden_nh = torch.randn(13, 8, generator=generator).to(dtype)
    weight_vh = torch.randn(50, 8, generator=generator).to(dtype)
    bias = torch.randn(50, generator=generator).to(dtype) if biased else None
    expected = torch.nn.functional.linear(hidden_nh, weight_vh, bias).argmax(-1)
    assert torch.equal(first_choices(hidden_nh, weight_vh, bias=bias, chunk=chunk), expected)


@pytest.mark.parametrize("chunk", [1, 2, 3, 8])
def test_of_equal_logits_the_first(chunk: int) -> None:
    weight_vh = torch.tensor([[0.0], [2.0], [1.0], [2.0], [2.0]])
    assert first_choices(torch.ones(3, 1), weight_vh, chunk=chunk).tolist() == [1, 1, 1]


def test_words_that_are_never_said() -> None:
    bias = torch.tensor([-torch.inf, -torch.inf, 0.0])
    assert first_choices(torch.ones(2, 1), torch.ones(3, 1), bias=bias, chunk=1).tolist() == [2, 2]


def test_no_token() -> None:
    assert first_choices(torch.ones(0, 4), torch.ones(9, 4)).shape == (0,)
