"""What one system prompt gives, as files that need nothing of ours: a PEFT LoRA adapter, or merged weights.

The mixture of K experts of rank r is a product of rank K*r: the kept experts' factors side by side, gates and scale in
the second ones. It is exact, and the adapter's own scale is 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...runtime.files import atomic_folder
from .edge import find_targets
from .generator import LoraGenerator


@torch.no_grad()
def factors_of(edge: nn.Module, generator: LoraGenerator, gates_le: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Module name -> `[I, K*R]` and `[K*R, O]`, for every target of the edge."""
    names = find_targets(edge, generator.config.targets)
    return {
        name: generator.factors(layer, target, gates_le[layer])
        for layer, named in enumerate(names)
        for target, name in named.items()
    }


def write_adapter(
    edge: nn.Module, generator: LoraGenerator, gates_le: Tensor, folder: str | Path, base_name: str | None = None
) -> Path:
    """A folder that `PeftModel.from_pretrained(edge, folder)` loads. `base_name`: the edge model's folder or name."""
    from peft import LoraConfig
    from safetensors.torch import save_file

    config = generator.config
    rank = config.top_k * config.rank
    about = LoraConfig(
        task_type="CAUSAL_LM",
        r=rank,
        lora_alpha=rank,
        lora_dropout=0.0,
        target_modules=list(config.targets),
        base_model_name_or_path=base_name,
        inference_mode=True,
    )
    weights: dict[str, Tensor] = {}
    for name, (down, up) in factors_of(edge, generator, gates_le).items():
        weights[f"base_model.model.{name}.lora_A.weight"] = down.T.contiguous().cpu()
        weights[f"base_model.model.{name}.lora_B.weight"] = up.T.contiguous().cpu()
    with atomic_folder(Path(folder)) as scratch:
        about.save_pretrained(str(scratch))
        save_file(weights, str(scratch / "adapter_model.safetensors"), metadata={"format": "pt"})
    return Path(folder)


@torch.no_grad()
def merge(edge: Any, generator: LoraGenerator, gates_le: Tensor) -> Any:
    """Add the mixture to the edge's own weights, in place and in float32 or better, and give it back."""
    parts = dict(edge.named_modules())
    for name, (down, up) in factors_of(edge, generator, gates_le).items():
        weight = parts[name].weight
        exact = torch.promote_types(weight.dtype, torch.promote_types(down.dtype, torch.float32))
        added = (down.to(exact) @ up.to(exact)).T
        weight.copy_(weight.to(exact) + added.to(weight.device))
    return edge
