"""Heads added to a plain model, and head 1 as a plain model again."""

from __future__ import annotations

from typing import Any, Literal

from ...errors import ModelError
from .sources import remade


def retarget(model: Any, num_future_tokens: int, kind: Literal["parallel", "sequential"]) -> Any:
    """The same head 1 with this many heads. A model that has heads keeps them all or gives up all but the first."""
    from ..mtp.making import add_heads
    from ..mtp.making import plain_state as of_head_1

    if num_future_tokens < 1:
        raise ModelError(f"a model has at least one head; {num_future_tokens} were asked for")
    if model.config.model_type != "curricle_mtp":
        return add_heads(model, num_future_tokens, kind)
    if num_future_tokens != 1:
        raise ModelError(
            f"the model has {model.config.num_future_tokens} heads, and {num_future_tokens} were asked for; heads that "
            "learned are kept, or all given up with --heads 1"
        )
    return remade(model, model.config.family, of_head_1(model))
