"""Matrix products of a few rows in float32 on a CPU, where a decoder spends its time.

`x W^T` for 2 to 8 rows reads W two to four times slower than memory would give it, in the libraries that PyTorch calls;
the same product asked for as `(W x^T)^T` does not, and a single row is faster as two. Only rounding differs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

FEW = 8


@contextmanager
def few_rows(model: nn.Module) -> Iterator[None]:
    """Inside, the plain linear layers of a model that lies in float32 on a CPU take few rows the fast way."""
    layers = [layer for layer in model.modules() if type(layer) is nn.Linear and "forward" not in vars(layer)]
    layers = [layer for layer in layers if layer.weight.dtype == torch.float32 and layer.weight.device.type == "cpu"]
    for layer in layers:
        layer.forward = MethodType(_forward, layer)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _forward(layer: nn.Linear, states: Tensor) -> Tensor:
    num_rows = states.numel() // layer.in_features
    if num_rows > FEW or states.dtype != torch.float32 or torch.is_grad_enabled() or not num_rows:
        return linear(states, layer.weight, layer.bias)
    rows_nh = states.reshape(num_rows, layer.in_features)
    made_nh = (
        torch.mm(layer.weight, (rows_nh if num_rows > 1 else rows_nh.repeat(2, 1)).t()).t()[:num_rows].contiguous()
    )
    if layer.bias is not None:
        made_nh = made_nh + layer.bias
    return made_nh.reshape(*states.shape[:-1], layer.out_features)
