"""Rows put into a batch and taken out of it while it is under way, in transformers' own cache.

Rows are kept flush right, so that their newest tokens share a column, whatever came before; columns to the left of a
row are padding. A row of 2 tokens joins rows of 5 and 3, and the one of 5 is finished:

    before   a a a a a        kept   b b b        joined   b b b
             . . b b b                                     . c c

A mask says which columns of a row hold something. Those of drafted tokens that were refused do not, even between others
that do, until rows join or too many are empty; then what is held moves together:

    refused  a a a - - a a    together   . a a a a a
             b b b b b - b               b b b b b b
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, GenerationMixin
from transformers.cache_utils import (
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionLayer,
)

ROOM = 64  # columns kept free for the tokens to come

_KNOWN = (DynamicLayer, DynamicSlidingWindowLayer, LinearAttentionLayer, LinearAttentionAndFullAttentionLayer)


class RoomyLayer(DynamicLayer):
    """Keys and values in buffers with room to the right: a step writes one column where others copy all of them."""

    def __init__(self) -> None:
        super().__init__()
        self._buffers: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        used = self.get_seq_length()
        total = used + key_states.shape[-2]
        if self._buffers is None or total > self._buffers[0].shape[-2]:
            buffers = (_roomy(key_states, total), _roomy(value_states, total))
            if self._buffers is not None:
                for new, old in zip(buffers, self._buffers, strict=True):
                    new[..., :used, :] = old[..., :used, :]
            self._buffers = buffers
        keys, values = self._buffers
        keys[..., used:total, :], values[..., used:total, :] = key_states, value_states
        self.keys, self.values = keys[..., :total, :], values[..., :total, :]
        return self.keys, self.values

    def hold(self, keys: Tensor, values: Tensor, columns: int) -> None:
        """Take these buffers in place of what was there; so many columns of them are filled."""
        self._buffers = (keys, values)
        self.keys, self.values = keys[..., :columns, :], values[..., :columns, :]


def _roomy(states: Tensor, columns: int) -> Tensor:
    return states.new_zeros(*states.shape[:-2], columns + ROOM, states.shape[-1])


def bare(model: nn.Module) -> Any:
    """The transformers model, an adapter's included."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]


def can_exchange_rows(model: nn.Module) -> bool:
    """Whether the model takes plain tokens, a mask, positions and a cache whose layers are all known here."""
    inner = bare(model)
    own_inputs = type(inner).prepare_inputs_for_generation is not GenerationMixin.prepare_inputs_for_generation
    if own_inputs or not inner._supports_default_dynamic_cache():
        return False
    config = inner.config.get_text_config(decoder=True)
    if config.is_encoder_decoder or getattr(config, "attention_chunk_size", None) is not None:
        return False
    if not {"input_ids", "attention_mask", "position_ids", "past_key_values"} <= set(accepted(model)):
        return False
    return all(type(layer) in _KNOWN for layer in DynamicCache(config=config).layers)


def accepted(model: nn.Module) -> list[str]:
    """The names of the arguments that the model's forward takes."""
    return list(inspect.signature(bare(model).forward).parameters)


def new_cache(model: nn.Module) -> DynamicCache:
    cache = DynamicCache(config=bare(model).config.get_text_config(decoder=True))
    cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    if cache.layer_class_to_replicate is DynamicLayer:
        cache.layer_class_to_replicate = RoomyLayer
    return cache


def drafting_cache(num_layers: int) -> DynamicCache:
    """A cache from which the newest columns can be taken away again: also layers that see a window keep everything."""
    cache = DynamicCache()
    cache.layers = [RoomyLayer() for _ in range(num_layers)]
    return cache


Part = tuple[DynamicCache, list[int], Tensor]
"""A cache, the rows of it that are wanted, and a mask of the columns that hold something, `[B, T]` on the CPU."""


def stacked(parts: Sequence[Part]) -> tuple[DynamicCache, Tensor]:
    """One cache of the wanted rows of several, in their order, as wide as the longest of them, and its own mask."""
    lengths = torch.cat([held_bt[kept].sum(-1) for _, kept, held_bt in parts])
    columns = int(lengths.max())
    whole = parts[0][0]
    for number, layer in enumerate(whole.layers):
        layers: list[Any] = [cache.layers[number] for cache, _, _ in parts]
        if isinstance(layer, LinearAttentionLayer):
            _stack_states(layers, [kept for _, kept, _ in parts])
        if isinstance(layer, DynamicLayer) and layer.keys is not None and layer.keys.numel():
            _stack_columns(layers, parts, columns)
    return whole, torch.arange(columns) >= columns - lengths[:, None]


def _stack_states(layers: list[Any], rows: list[list[int]]) -> None:
    for name in ("conv_states", "recurrent_states"):
        states = [getattr(layer, name) for layer in layers]
        for place, first in states[0].items():
            if first is not None:
                states[0][place] = torch.cat([own[place][kept] for own, kept in zip(states, rows, strict=True)])


def _stack_columns(layers: list[Any], parts: Sequence[Part], columns: int) -> None:
    first = layers[0]
    held = columns
    if isinstance(first, DynamicSlidingWindowLayer):
        held, first.cumulative_length = min(columns, first.sliding_window - 1), columns
    room = ROOM if isinstance(first, RoomyLayer) else 0
    keys = _flush_right([layer.keys for layer in layers], parts, held, room)
    values = _flush_right([layer.values for layer in layers], parts, held, room)
    if isinstance(first, RoomyLayer):
        first.hold(keys, values, held)
    else:
        first.keys, first.values = keys, values


def _flush_right(states: list[Tensor], parts: Sequence[Part], columns: int, room: int) -> Tensor:
    """`[B, H, T, D]` of all parts, one above the other, with zeros on the left of what is shorter; then the room."""
    _, heads, _, width = states[0].shape
    out = states[0].new_zeros(sum(len(kept) for _, kept, _ in parts), heads, columns + room, width)
    place = 0
    for own, (_, kept, held_bt) in zip(states, parts, strict=True):
        held_bt = held_bt[:, held_bt.shape[1] - own.shape[2] :]
        for row in kept:
            out_hd, taken = out[place, :, :columns], _taken(held_bt[row], columns)
            num = own.shape[2] - taken.start if isinstance(taken, slice) else len(taken)
            out_hd[:, columns - num :] = own[row][:, taken]
            place += 1
    return out


def _taken(held_t: Tensor, columns: int) -> slice | Tensor:
    """The newest columns of a row that hold something: a slice, where none between them is empty."""
    places = held_t.nonzero().squeeze(-1)[-columns:]
    first = int(places[0])
    return slice(first, None) if len(places) == len(held_t) - first else places
