"""A model with heads from one without, or from nothing.

added     a model that has learned something keeps all its layers; each parallel head starts as a copy of its last one
scratch   the extra heads' layers are taken off the trunk, so that the number of parameters stays
"""

from __future__ import annotations

from typing import Any, Literal

import torch

from ...errors import ModelError
from ..config import HeadsConfig
from .configuration import MtpConfig, check_heads, without_heads_layers
from .model import MtpForCausalLM

Kind = Literal["parallel", "sequential"]
PLAIN = ("model.", "lm_head.")


def scratch_config(family: Any, num_future_tokens: int, kind: Kind = "parallel", mtp_lambda: float = 0.3) -> MtpConfig:
    """The config of a model from scratch, of the size that `family`, the config of a plain one, has."""
    if kind == "parallel":
        family = without_heads_layers(family, num_future_tokens)
    return mtp_config(family, num_future_tokens, kind, mtp_lambda)


def mtp_config(family: Any, num_future_tokens: int, kind: Kind = "parallel", mtp_lambda: float = 0.3) -> MtpConfig:
    """Heads beside all the layers of `family`."""
    check_heads(family, num_future_tokens, kind)
    config = MtpConfig(text_config=family, num_future_tokens=num_future_tokens, kind=kind, mtp_lambda=mtp_lambda)
    config._attn_implementation = family._attn_implementation
    return config


def add_heads(plain: Any, num_future_tokens: int, kind: Kind = "parallel", mtp_lambda: float = 0.3) -> MtpForCausalLM:
    """A model with heads around the parts of `plain`, which are taken over and not copied: head 1 is `plain` itself."""
    from ..value_head import has_value_head

    if has_value_head(plain):
        raise ModelError(
            "this model's value head reads its last layer, and with heads it reads the trunk: add it after"
        )
    config = mtp_config(plain.config, num_future_tokens, kind, mtp_lambda)
    config.dtype = plain.dtype
    with torch.device("meta"):
        model = MtpForCausalLM(config)
    model.adopt(plain)
    return model


def config_with_heads(settings: Any, heads: HeadsConfig, name: str) -> MtpConfig:
    """What a saved model will be with the heads that a recipe asks for; one that has them must have the same."""
    if not isinstance(settings, MtpConfig):
        return mtp_config(settings, **heads.model_dump())
    has, asked = (settings.num_future_tokens, settings.kind), (heads.num_future_tokens, heads.kind)
    if has != asked:
        raise ModelError(
            f"model.mtp asks for {asked[0]} {asked[1]} heads, and {name} has {has[0]} {has[1]} ones already; set "
            "model.mtp to the same, or to null"
        )
    settings.mtp_lambda = heads.mtp_lambda
    return settings


def model_with_heads(model: Any, heads: HeadsConfig, name: str) -> MtpForCausalLM:
    """A loaded model with the heads that a recipe asks for."""
    if isinstance(model, MtpForCausalLM):
        config_with_heads(model.config, heads, name)
        return model
    if getattr(model, "is_quantized", False):
        raise ModelError(
            f"model.mtp cannot copy a head out of 4-bit weights: give {name} its heads first and save it, or leave "
            "model.quantization out"
        )
    return add_heads(model, **heads.model_dump())


def plain_state(model: MtpForCausalLM) -> dict[str, torch.Tensor]:
    """The weights of head 1's plain model, under its family's own names."""
    return {name: value for name, value in model.state_dict().items() if name.startswith(PLAIN)}
