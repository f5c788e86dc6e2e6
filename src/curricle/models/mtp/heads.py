"""The extra heads: how they are made out of a family's last layer, and how one is run.

parallel     another layer of that kind, on the trunk's state
sequential   transformers' `MtpLayer`: the state of the head before and the embedding of the next token, each under a
             norm of its own, projected to one state, and a layer of that kind on it
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import MtpLayer

from ...errors import ModelError


def parallel_head(backbone: Any, place: int) -> nn.Module:
    """A layer like the last one; `place` counts the extra heads."""
    last = len(backbone.layers) - 1
    return _numbered(type(backbone.layers[-1])(backbone.config, last), last + 1 + place)


def sequential_head(backbone: Any, place: int) -> nn.Module:
    """A module of depth `place` + 1. transformers drafts with it, and keeps a cache for these modules alone."""
    layer, norm = type(backbone.layers[-1]), type(backbone.norm)
    return _numbered(MtpLayer(backbone.config, layer, norm, len(backbone.layers) - 1), place)


def _numbered(head: Any, place: int) -> nn.Module:
    """Built as the last layer is, and then given its own place in a cache."""
    for part in head.modules():
        if hasattr(part, "layer_idx"):
            part.layer_idx = place
    numbered: nn.Module = head
    return numbered


def run_parallel(head: Any, trunk_bth: Tensor, given: dict[str, Any], recompute: bool) -> Tensor:
    """`given` is what the family's own last layer got beside its state."""
    cache = given.get("past_key_values")
    if cache is not None:
        _check_room(head, cache, trunk_bth.shape[1])
    with _checkpointed(head, recompute):
        states_bth: Tensor = head(trunk_bth, **given)
    return states_bth


def run_sequential(head: Any, before_bth: Tensor, ahead_bth: Tensor, given: dict[str, Any], recompute: bool) -> Tensor:
    """`before_bth` is the state of the head before, `ahead_bth` the embedding that each place is given to read."""
    with _checkpointed(head.mtp_block, recompute):
        states_bth: Tensor = head(ahead_bth, before_bth, **given)
    return states_bth


def embedding_ahead(embeds_bth: Tensor, depth: int) -> Tensor:
    """What a module of this depth reads at each place: the token `depth` places on, and zeros where the row has ended.

    place       0 1 2 3 4 5
    row         a b c d e f
    depth 1     b c d e f .       learns the token after it:  c d e f . .
    depth 2     c d e f . .                                   d e f . . .

    At the end of a packed document the token ahead is the next document's. Nothing is learned at such a place, and no
    earlier place of the document sees it.
    """
    return pad(embeds_bth[:, depth:], (0, 0, 0, min(depth, embeds_bth.shape[1])))


@contextmanager
def _checkpointed(layer: Any, wanted: bool) -> Iterator[None]:
    """Compute the layer again in backward instead of keeping what lies inside it, the way transformers' layers do it
    themselves: hooks of FSDP stay outside."""
    if not wanted or layer.gradient_checkpointing:
        yield
        return
    layer.gradient_checkpointing = True
    layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
    try:
        yield
    finally:
        layer.gradient_checkpointing = False


def _check_room(head: Any, cache: Any, num_new: int) -> None:
    """A head's keys must be there for every token that the trunk has read before."""
    place = head.self_attn.layer_idx
    if len(cache.layers) <= place and cache.layer_class_to_replicate is None:
        raise ModelError("the cache has no room for the extra heads; make it with the model's new_cache()")
    read, seen = int(cache.get_seq_length(0)) - num_new, int(cache.get_seq_length(place))
    if read != seen:
        raise ModelError(
            f"the trunk has read {read} tokens before these and an extra head {seen}; ask for all heads in every call "
            "that fills the cache"
        )


def copy_layer(source: nn.Module, target: nn.Module) -> None:
    """The weights of one layer into another of its kind."""
    with torch.no_grad():
        target.load_state_dict(source.state_dict())
