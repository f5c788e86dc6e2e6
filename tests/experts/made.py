"""Small real experts on disk: a base of random weights, LoRA adapters by PEFT with random factors, full models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from curricle.runtime.quiet import calm_libraries
from support import model

SHAPES: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": False},
    "tied": {"tie_word_embeddings": True},
    "qwen2": {},
    "mamba2": {"state_size": 8, "num_heads": 4, "head_dim": 16, "n_groups": 1, "expand": 2, "chunk_size": 8},
    "mamba": {"state_size": 8},
}
TARGETS = {"mamba2": ["in_proj"], "mamba": ["in_proj"]}


def base(folder: Path, kind: str = "llama", seed: int = 0, dtype: torch.dtype = torch.float32, **save: Any) -> Path:
    """A model folder as transformers writes it."""
    with calm_libraries():
        made = model("llama" if kind == "tied" else kind, None, seed, **SHAPES[kind]).to(dtype)
        made.save_pretrained(folder, **save)
    return folder


def adapter(folder: Path, on: Path, seed: int = 1, size: float = 0.1, **changes: Any) -> Path:
    """A PEFT adapter in which every factor is random, so that each of them changes its weight."""
    from transformers import AutoModelForCausalLM

    with calm_libraries():
        model = AutoModelForCausalLM.from_pretrained(on)
        targets = TARGETS.get(model.config.model_type, ["q_proj", "down_proj"])
        settings = {"r": 4, "lora_alpha": 8, "target_modules": targets, "task_type": "CAUSAL_LM", **changes}
        wrapped = get_peft_model(model, LoraConfig(**settings))
        draw = torch.Generator().manual_seed(seed)
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.data += size * torch.randn(parameter.shape, generator=draw)
        wrapped.save_pretrained(str(folder))
    return folder


def merged(adapter_folder: Path, on: Path) -> dict[str, torch.Tensor]:
    """What PEFT itself makes of both: the weights by name."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    with calm_libraries():
        whole: Any = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(on), adapter_folder)
        return {name: tensor.clone() for name, tensor in whole.merge_and_unload().state_dict().items()}


def moved(folder: Path, on: Path, seed: int = 2, only: str = "", size: float = 0.01) -> Path:
    """A full model: the base with noise on the tensors whose names hold `only`."""
    import shutil

    shutil.copytree(on, folder)
    draw = torch.Generator().manual_seed(seed)
    for file in sorted(folder.glob("*.safetensors")):
        weights = load_file(file)
        for name, tensor in sorted(weights.items()):
            if only in name:
                noise = size * torch.randn(tensor.shape, generator=draw)
                weights[name] = tensor + noise.to(tensor.dtype) if tensor.is_floating_point() else tensor
        save_file(weights, file, {"format": "pt"})
    return folder


def edit(folder: Path, **changes: torch.Tensor | None) -> Path:
    """One file of weights with tensors put in, replaced or (None) taken out; `__` in a name stands for a dot."""
    file = folder / "model.safetensors"
    weights = load_file(file)
    for name, tensor in changes.items():
        name = name.replace("__", ".")
        weights.pop(name, None)
        if tensor is not None:
            weights[name] = tensor
    save_file(weights, file, {"format": "pt"})
    return folder
