"""Which layers of a state-space model learn through LoRA.

In a Mamba block only `in_proj` is always called as a layer. The rest may be read as a bare matrix, past any factor:

    layer      transformers' own path              with the kernels of mamba-ssm, in training
    in_proj    called                              called
    x_proj     called                              its matrix is handed to the kernel         (mamba)
    dt_proj    its matrix is multiplied by hand    its matrix is handed to the kernel         (mamba)
    out_proj   called                              its matrix is handed to the kernel         (PEFT refuses it)
    conv1d     its matrix is handed on             its matrix is handed on                    (PEFT refuses it)

A factor beside a matrix that is read so learns nothing, and the merged model, where it is zero, does not show it.
"""

from __future__ import annotations

from typing import Any

from ..errors import ModelError

LIVE = {"mamba": ["in_proj"], "mamba2": ["in_proj"], "falcon_mamba": ["in_proj"]}
"""By model type: what `all-linear` stands for, live on every path."""
BYPASSED = {
    "mamba": ["dt_proj", "out_proj", "conv1d"],
    "mamba2": ["out_proj", "conv1d"],
    "falcon_mamba": ["dt_proj", "out_proj", "conv1d"],
}
"""Never live, or not on every path and refused by PEFT."""


def lora_targets(model: Any, asked: str | list[str]) -> str | list[str]:
    """What to hand to PEFT for `model.adapter.lora_target_modules`."""
    kind = getattr(model.config, "model_type", "")
    if kind not in LIVE:
        return asked
    if asked == "all-linear":
        return LIVE[kind]
    dead = sorted({name.rpartition(".")[2] for name in asked} & {*BYPASSED[kind]}) if isinstance(asked, list) else []
    if dead:
        raise ModelError(
            f"model.adapter.lora_target_modules names {', '.join(dead)}, but a {kind} model reads these weights "
            f"without calling the layer, so factors beside them would learn nothing; `all-linear` is {LIVE[kind]} here"
        )
    return asked


def linear_endings(model: Any) -> list[str]:
    """How the names of the model's linear layers end."""
    return sorted({name.rpartition(".")[2] for name, part in model.named_modules() if hasattr(part, "in_features")})
