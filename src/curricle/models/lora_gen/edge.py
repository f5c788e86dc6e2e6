"""The edge model's target layers, and the generated mixture in their forward: by public hooks, weights untouched."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import ModelError
from ..gates import LayerGate
from .generator import LoraGenerator

# The place of a block in its stack, in the module names of transformers' models: `model.layers.3.`, `h.3.`, ...
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")


def find_targets(edge: nn.Module, targets: Sequence[str]) -> list[dict[str, str]]:
    """For each layer of the edge: target -> full module name. Each target must be in each layer exactly once."""
    linears = {name: part for name, part in edge.named_modules() if isinstance(part, nn.Linear)}
    layers: dict[int, dict[str, str]] = {}
    for target in targets:
        for name in linears:
            if not f".{name}".endswith(f".{target}"):
                continue
            place = _LAYER.search(name)
            if place is None:
                raise ModelError(f"lora_gen.targets has `{target}`, and `{name}` is no part of a layer; leave it out")
            if target in layers.setdefault(int(place[1]), {}):
                raise ModelError(
                    f"lora_gen.targets has `{target}`, which layer {place[1]} holds more than once (routed experts?); "
                    "write a longer ending that names one of them"
                )
            layers[int(place[1])][target] = name
    num_layers = int(edge.config.get_text_config().num_hidden_layers)  # type: ignore[operator, union-attr]
    for target in targets:
        found = sum(target in layer for layer in layers.values())
        if found != num_layers:
            endings = sorted({name.rpartition(".")[2] for name in linears if _LAYER.search(name)})
            raise ModelError(
                f"lora_gen.targets has `{target}`, a linear layer in {found} of the {num_layers} layers of "
                f"{type(edge).__name__}; its linear layers end in {', '.join(endings)}"
            )
    return [layers[i] for i in range(num_layers)]


def widths_of(edge: nn.Module, names: Sequence[dict[str, str]]) -> list[dict[str, tuple[int, int]]]:
    """In and out of each target, layer by layer."""
    parts: dict[str, Any] = dict(edge.named_modules())
    return [{t: (parts[n].in_features, parts[n].out_features) for t, n in layer.items()} for layer in names]


class GeneratedLora:
    """Hooks on the edge's target layers that add what the generator makes of them; idle until `use` was called.

    The gates stay until `use` is called again: activation checkpointing runs the layers once more in the backward
    pass and must find them.
    """

    def __init__(self, edge: nn.Module, generator: LoraGenerator) -> None:
        self.names = find_targets(edge, generator.config.targets)
        if widths_of(edge, self.names) != generator.layers:
            raise ModelError(
                f"the generator was made for an edge model of other widths: {generator.layers[0]} in its first of "
                f"{generator.num_layers} layers, found {widths_of(edge, self.names)[0]} in the first of "
                f"{len(self.names)}; use the edge model it was trained with"
            )
        self._generator = generator
        self.layer_gates = [LayerGate(layer) for layer in range(len(self.names))]
        """Which tokens teach the generator through each layer; by default all."""
        self._gates_ple: Tensor | None = None
        self._prompt_bt: Tensor | None = None
        parts = dict(edge.named_modules())
        self._handles = [
            parts[name].register_forward_hook(self._hook(layer, target))
            for layer, named in enumerate(self.names)
            for target, name in named.items()
        ]

    def use(self, gates_ple: Tensor | None, prompt_bt: Tensor | None = None) -> None:
        """Gates for each system prompt, and which prompt each token belongs to (`[B, T]`, or `[B, 1]` where a whole row
        has one; None: all have the first). Without gates the edge is as it came."""
        self._gates_ple, self._prompt_bt = gates_ple, prompt_bt

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _hook(self, layer: int, target: str) -> Callable[..., Tensor | None]:
        def add(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if self._gates_ple is None:
                return None
            gates_pe = self._gates_ple[:, layer]
            gates_bte = gates_pe[0] if self._prompt_bt is None else gates_pe[self._prompt_bt]
            branch = self._generator.branch(layer, target, args[0], gates_bte)
            taught_bt = self.layer_gates[layer].mask(args[0])
            if taught_bt is not None:
                still = self._generator.branch(layer, target, args[0], gates_bte, learns=False)
                branch = torch.where(taught_bt[..., None], branch, still)
            return output + branch.to(output.dtype)

        return add
