"""A model with heads from one without, or from nothing.

added     a model that has learned something keeps all its layers; each parallel head starts as a copy of its last one
scratch   the layers of the extra heads are taken off the trunk, so the number of parameters does not depend on the heads
"""

from __future__ import annotations

from typing import Any, Literal

import torch

from .configuration import MtpConfig, check_heads, without_heads_layers
from .model import MtpForCausalLM

Kind = Literal["parallel", "sequential"]


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
    config = mtp_config(plain.config, num_future_tokens, kind, mtp_lambda)
    config.dtype = plain.dtype
    with torch.device("meta"):
        model = MtpForCausalLM(config)
    model.adopt(plain)
    return model


def plain_state(model: MtpForCausalLM) -> dict[str, torch.Tensor]:
    """The weights of head 1's plain model, under its family's own names."""
    return {name: value for name, value in model.state_dict().items() if not name.startswith("extra_heads.")}
