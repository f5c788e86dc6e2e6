"""Where a model's state is read by something that is not an output head, such as a value head."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..head_plan import base_model


def trunk_of(model: nn.Module) -> nn.Module:
    """The part whose output, once a forward, is the state to read: the shared trunk of a model with several heads, the
    decoder of any other. Hook it before the model is wrapped; `state_of` reads what it gives."""
    from .model import MtpForCausalLM

    base = base_model(model)
    return base.trunk_state if isinstance(base, MtpForCausalLM) else base.get_decoder()


def state_of(output: Any) -> Tensor:
    """[B, T, H] of what the part returned."""
    if isinstance(output, Tensor):
        return output
    state: Tensor = output[0] if isinstance(output, tuple) else output.last_hidden_state
    return state
