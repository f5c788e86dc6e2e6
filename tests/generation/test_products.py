"""Few rows take another way through a matrix product, to the same result, and only inside."""

from __future__ import annotations

from contextlib import suppress

import pytest
import torch
from torch import nn
from torch.nn.functional import linear

from curricle.generation.products import FEW, few_rows


@pytest.mark.parametrize("num_rows", [1, 2, 3, FEW, FEW + 1])
@pytest.mark.parametrize("bias", [False, True])
def test_the_product_is_the_same(num_rows: int, bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(48, 32, bias=bias)
    states = torch.randn(num_rows, 1, 48)
    exact = linear(states.double(), layer.weight.double(), layer.bias.double() if bias else None)
    with few_rows(nn.Sequential(layer)), torch.no_grad():
        found = layer(states)
    assert found.shape == (num_rows, 1, 32)
    assert found.is_contiguous()
    assert (found - exact).abs().max() < 1e-5


def test_gradients_and_empty_batches_are_left_to_pytorch() -> None:
    layer = nn.Linear(4, 3)
    with few_rows(layer):
        layer(torch.randn(2, 4)).sum().backward()
        assert layer(torch.empty(0, 4)).shape == (0, 3)
        assert layer(torch.randn(2, 2, 2, 4)).shape == (2, 2, 2, 3)
    assert layer.weight.grad is not None


def test_only_plain_float32_layers_are_changed_and_given_back_even_after_an_error() -> None:
    class Own(nn.Linear):
        pass

    layers = nn.ModuleList([nn.Linear(4, 4), Own(4, 4), nn.Linear(4, 4, dtype=torch.bfloat16)])

    def changed() -> list[bool]:
        return ["forward" in vars(layer) for layer in layers]

    with few_rows(layers):
        assert changed() == [True, False, False]
    with suppress(RuntimeError), few_rows(layers):
        layers[0](torch.randn(2, 5))
    assert changed() == [False, False, False]
