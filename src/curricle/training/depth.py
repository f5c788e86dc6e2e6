"""Applies the depth dial to a model, and keeps account of each layer's learning.

A closed layer's gradients are gone before anyone looks at them: `None`, not zero, because zero still moves momentum,
Adam's moments and decayed weights, while every optimizer passes over a parameter without a gradient. The parameters
stay registered and trainable, so DDP, FSDP2, the optimizer's groups and checkpoints know of nothing.

    before clipping (`close`)     closed layers' gradients dropped; each layer's gradient norm
    after the step (`moved`)      how far each layer's LoRA update has grown: the norm of B A, scaled
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..curriculum.layers import Depth
from ..errors import ModelError
from ..models.gates import DocumentGates
from ..runtime.ranks import all_sum


def layer_stack(model: nn.Module) -> Sequence[nn.Module]:
    """The blocks of a causal language model, from the embedding up, whatever its family calls them: the first list of
    modules as long as the model has hidden layers. Empty where there is none."""
    config: Any = getattr(model, "config", None)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    num_layers = getattr(text, "num_hidden_layers", None)
    lists = (part for part in model.modules() if isinstance(part, nn.ModuleList) and len(part) == num_layers)
    return list(next(lists, []))


class LayerDial:
    """One model's layers under one `Depth`. Build it before the model is wrapped: wrappers keep the blocks."""

    def __init__(self, model: nn.Module, depth: Depth) -> None:
        self.depth, self.blocks = depth, layer_stack(model)
        turned = type(depth) is not Depth
        if turned and not self.blocks:
            raise ModelError(
                f"the depth `{type(depth).__name__}` needs the model's layers, and {type(model).__name__} has no list "
                "of `num_hidden_layers` blocks; leave `curriculum.layers` at `all`"
            )
        # A generator of LoRA serves all layers: only gates can keep a layer, or a document, from teaching it.
        generated = getattr(getattr(model, "lora", None), "layer_gates", None) if turned else None
        self._gates_closed = generated is not None
        gated = depth.gates_documents or self._gates_closed
        self.gates = DocumentGates(self.blocks, generated) if gated else None
        self._has_own = any(p.requires_grad for block in self.blocks for p in block.parameters())
        self._turned = turned
        self._admitted_l, self._num_documents = np.zeros(len(self.blocks)), 0

    def admit(self, progress: float, examples: Sequence[int], inputs: dict[str, Any]) -> None:
        """Before a micro batch's forward pass: which of its documents teach which layers."""
        if self.gates is None:
            return
        gates_dl = self.depth.gates(progress, examples, len(self.blocks))
        if self._gates_closed and (closed := self.depth.closed(progress, len(self.blocks))):
            gates_dl = np.ones((len(examples), len(self.blocks)), dtype=bool) if gates_dl is None else gates_dl.copy()
            gates_dl[:, sorted(closed)] = False
        self.gates.admit(gates_dl, inputs)
        self._num_documents += len(examples)
        self._admitted_l += len(examples) if gates_dl is None else gates_dl.sum(axis=0)

    def close(self, progress: float, device: torch.device) -> dict[str, Any]:
        """Before clipping: drop the gradients of layers that do not learn in this step; what to log about it.

        A layer that admitted none of the step's documents, on any rank, is closed as well.
        """
        if not self._turned:
            return {}
        closed = self.depth.closed(progress, len(self.blocks))
        row: dict[str, Any] = {}
        if self.gates is not None:
            sums = torch.tensor([*self._admitted_l.tolist(), float(self._num_documents)], device=device)
            *admitted, documents = all_sum(sums).tolist()
            self._admitted_l, self._num_documents = np.zeros(len(self.blocks)), 0
            closed |= {layer for layer, num in enumerate(admitted) if num == 0}
            row["layer_admitted"] = [num / max(1.0, documents) for num in admitted]
        for layer in closed:
            for parameter in self.blocks[layer].parameters():
                parameter.grad = None
        return {"open_layers": [layer for layer in range(len(self.blocks)) if layer not in closed]} | row

    def grad_norms(self, scale: float = 1.0) -> dict[str, Any]:
        """Each layer's gradient norm, over all ranks and before clipping; `scale` is what a loss scaler put on it."""
        squares = [[_square(p.grad) for p in block.parameters() if p.grad is not None] for block in self.blocks]
        return {"layer_grad_norm": [norm / scale for norm in _roots(squares)]} if self._has_own else {}

    def moved(self) -> dict[str, Any]:
        """The size of each layer's LoRA update; nothing when the model trains whole, where it would need a copy."""
        squares = [[_update_square(*factors) for factors in _lora_factors(block)] for block in self.blocks]
        return {"layer_moved": _roots(squares)} if any(squares) else {}


def _lora_factors(block: nn.Module) -> Iterator[tuple[Tensor, Tensor, float]]:
    """A [r, in], B [out, r] and the scaling of each linear LoRA layer of a block."""
    for part in block.modules():
        layer: Any = part
        for adapter, factor in getattr(layer, "lora_A", {}).items():
            if isinstance(factor, nn.Linear):
                yield factor.weight, layer.lora_B[adapter].weight, layer.scaling[adapter]


@torch.no_grad()
def _update_square(a_ri: Tensor, b_or: Tensor, scaling: float) -> Tensor:
    """The squared norm of scaling * B A, from two r x r products: |B A|^2 = trace((B^T B) (A A^T))."""
    a_ri, b_or = _whole(a_ri).double(), _whole(b_or).double()
    return ((b_or.t() @ b_or) * (a_ri @ a_ri.t())).sum().clamp(min=0) * scaling**2


@torch.no_grad()
def _square(gradient: Tensor) -> Tensor:
    return _whole(gradient.float().square().sum()).double()


def _whole(tensor: Tensor) -> Tensor:
    """FSDP2's shards put together; any other tensor as it is."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def _roots(squares_l: Sequence[Sequence[Tensor]]) -> list[float]:
    """The root of each layer's sum; one transfer from the device for all of them."""
    sums = [
        torch.stack(list(squares)).sum() if squares else torch.zeros((), dtype=torch.float64) for squares in squares_l
    ]
    device = next((total.device for total in sums if total.device.type != "cpu"), torch.device("cpu"))
    return torch.stack([total.to(device) for total in sums]).sqrt().tolist() if sums else []
