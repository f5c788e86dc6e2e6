"""Gates: a layer learns only from the documents that its own difference admits.

The values of a forward pass are what they always are, and so is every gradient that flows on to the layers below. What
changes is the gradient of the layer's own LoRA factors, which takes the rows of admitted tokens alone:

    token              a0 a1 a2 b0 b1 c0      documents a, b, c in one packed row; c does not teach this layer
    document            0  0  0  1  1  2
    kept                0  1  2  3  4         rows of x and g that the gradient is made from

    y  = x W^T                                all six rows
    dx = g W                                  all six rows
    dW = g[kept]^T x[kept]                    c has no share in it, not even a rounding error

In a row of one's own attention, c's loss reaches this layer through c's tokens only, so leaving them out leaves out c.
peft keeps the two factors of a LoRA layer as plain linear modules; those modules are replaced by `GatedLinear`, which
holds the same parameters under the same names. `gated_gradients` is the exact, slow way, for any kind of parameter.

Suffixes: bt batch x time, t flat tokens, k kept tokens, d documents, l layers, io in and out features.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from ..errors import ModelError


def gated_gradients(
    losses_d: Sequence[Tensor], layers: Sequence[Sequence[nn.Parameter]], gates_dl: npt.NDArray[np.bool_]
) -> list[list[Tensor]]:
    """The definition: each document's gradient by itself, added to a layer's where its gate is open."""
    sums = [[torch.zeros_like(parameter) for parameter in layer] for layer in layers]
    for document, loss in enumerate(losses_d):
        for place, layer in enumerate(layers):
            if gates_dl[document, place]:
                shares = torch.autograd.grad(loss, list(layer), retain_graph=True, allow_unused=True)
                for total, share in zip(sums[place], shares, strict=True):
                    total += 0 if share is None else share
    return sums


class LayerGate:
    """What a layer's factors share: which tokens teach them in the micro batch at hand."""

    def __init__(self, layer: int) -> None:
        self.layer = layer
        self.kept_k: Tensor | None = None
        """Places of the admitted tokens, flat; None: all of them."""
        self.num_tokens = 0

    def mask(self, x: Tensor) -> Tensor | None:
        """Whether each token of `x` teaches the layer; None where all of them do, or nothing is learned."""
        if self.kept_k is None or not torch.is_grad_enabled():
            return None
        self.check(x)
        taught_t = torch.zeros(self.num_tokens, dtype=torch.bool, device=x.device)
        return taught_t.index_fill_(0, self.kept_k, True).view(x.shape[:-1])

    def check(self, x: Tensor) -> None:
        """Tokens in another number are not those the gate was set for."""
        if math.prod(x.shape[:-1]) != self.num_tokens:
            raise ModelError(
                f"a LoRA factor of layer {self.layer} sees {math.prod(x.shape[:-1])} tokens of a batch of "
                f"{self.num_tokens}; layer_specific needs layers that every token passes in order: take the routed "
                "parts out of model.adapter.lora_target_modules"
            )


class GatedLinear(nn.Linear):
    """The linear module of one LoRA factor, with its parameters, behind its layer's gate."""

    def __init__(self, factor: nn.Linear, gate: LayerGate) -> None:
        nn.Module.__init__(self)  # the parameters are there already
        self.in_features, self.out_features = factor.in_features, factor.out_features
        self.weight, self.bias = factor.weight, factor.bias
        self.training = factor.training
        self.gate = gate

    def forward(self, input: Tensor) -> Tensor:
        if self.gate.kept_k is None or not torch.is_grad_enabled():
            return super().forward(input)
        return self._gated(input, self.gate.kept_k)

    @torch.compiler.disable
    def _gated(self, x: Tensor, kept_k: Tensor) -> Tensor:
        self.gate.check(x)
        return _Gated.apply(*_as_autocast(x, self.weight, self.bias), kept_k)


def _as_autocast(x: Tensor, weight_io: Tensor, bias_o: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """What autocast does to the arguments of a plain linear; inside a function of our own it would not be undone."""
    kind = x.device.type
    if not torch.is_autocast_enabled(kind) or x.dtype == torch.float64:
        return x, weight_io, bias_o
    dtype = torch.get_autocast_dtype(kind)
    return x.to(dtype), weight_io.to(dtype), None if bias_o is None else bias_o.to(dtype)


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_io: Tensor, bias_o: Tensor | None, kept_k: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight_io, kept_k)
        return linear(x, weight_io, bias_o)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight_io, kept_k = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad[:3]
        grad_k = grad.reshape(-1, grad.shape[-1])[kept_k]
        return (
            grad @ weight_io if for_x else None,
            grad_k.t() @ x.reshape(-1, x.shape[-1])[kept_k] if for_weight else None,
            grad_k.sum(0) if for_bias else None,
            None,
        )


class DocumentGates:
    """The gates of a model's layers. What `admit` sets holds for the forward pass that follows, and for its backward
    pass where activation checkpointing computes it again, until it is called once more."""

    def __init__(self, blocks: Sequence[nn.Module], gates: Sequence[LayerGate] | None = None) -> None:
        """`gates` are those of a model that has its own; otherwise they are put in front of the LoRA factors."""
        self.gates = list(gates or (LayerGate(layer) for layer in range(len(blocks))))
        if gates is not None:
            return
        for block, gate in zip(blocks, self.gates, strict=True):
            found = list(_factors(block))
            _refuse_ungated(block, gate.layer, found)
            for holder, adapter in found:
                holder[adapter] = GatedLinear(holder[adapter], gate)  # type: ignore[arg-type]

    def admit(self, gates_dl: npt.NDArray[np.bool_] | None, inputs: dict[str, Any]) -> None:
        """Open and close for the batch `inputs`, a line of `gates_dl` for each of its documents; None opens all."""
        for gate in self.gates:
            gate.kept_k = None
        if gates_dl is None or gates_dl.all():
            return
        document_t, device = document_of_token(inputs), inputs["input_ids"].device
        known: dict[bytes, Tensor] = {}
        for gate, open_d in zip(self.gates, gates_dl.T, strict=True):
            if open_d.all():
                continue
            key = open_d.tobytes()
            if key not in known:
                known[key] = torch.from_numpy(np.flatnonzero(open_d[document_t])).to(device, non_blocking=True)
            gate.kept_k, gate.num_tokens = known[key], len(document_t)


def document_of_token(inputs: dict[str, Any]) -> npt.NDArray[np.int64]:
    """The document of every token, flat, counted from 0 within the batch: packed rows, or a document a row."""
    if "doc_lens" in inputs:
        return np.repeat(np.arange(len(inputs["doc_lens"])), inputs["doc_lens"])
    positions_bt = inputs.get("position_ids")
    if positions_bt is not None:
        starts_t: npt.NDArray[np.bool_] = (positions_bt == 0).flatten().cpu().numpy()
        return np.cumsum(starts_t) - 1
    rows, length = inputs["input_ids"].shape
    return np.repeat(np.arange(rows), length)


def _factors(block: nn.Module) -> Iterator[tuple[nn.ModuleDict, str]]:
    """The places of a block's LoRA factors: the holder of each, and the adapter it belongs to."""
    for name, part in block.named_modules():
        if getattr(part, "lora_variant", None) or "experts" in name.split("."):
            continue  # another rule than B(A(x)), or another arrangement of tokens
        for holder in (getattr(part, "lora_A", None), getattr(part, "lora_B", None)):
            if isinstance(holder, nn.ModuleDict):
                yield from ((holder, adapter) for adapter, factor in holder.items() if isinstance(factor, nn.Linear))


def _refuse_ungated(block: nn.Module, layer: int, factors: list[tuple[nn.ModuleDict, str]]) -> None:
    """Whatever else learns in a block would learn from every document."""
    gated = {id(weight) for holder, adapter in factors for weight in holder[adapter].parameters()}
    for name, parameter in block.named_parameters():
        if not parameter.requires_grad or id(parameter) in gated:
            continue
        what = "another thing that learns"
        if any("lora_magnitude" in other for other, _ in block.named_parameters()):
            what = "part of a DoRA adapter (model.adapter.use_dora)"
        elif not factors and "lora_" not in name:
            what = "full training (no model.adapter)"
        raise ModelError(
            f"layer_specific works on the factors of a plain LoRA adapter, and `{name}` of layer {layer} is {what}; "
            "set model.adapter to LoRA on linear layers, without use_dora, modules_to_save or routed experts"
        )
