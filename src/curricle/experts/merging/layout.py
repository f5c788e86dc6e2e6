"""Where every tensor of the output comes to lie, known before the first is made: shards, headers, the index."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch

_CODES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
"""As safetensors spells them."""


@dataclass(frozen=True)
class Item:
    """One tensor to write."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def num_bytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Shard:
    """One file: its header, and its tensors with the byte at which each begins."""

    file: str
    header: bytes
    items: tuple[tuple[Item, int], ...]

    @property
    def num_bytes(self) -> int:
        return len(self.header) + sum(item.num_bytes for item, _ in self.items)


def can_hold(dtype: torch.dtype) -> bool:
    """Whether tensors of this type are merged or copied here."""
    return dtype in _CODES


def lay_out(items: Sequence[Item], max_bytes: int) -> list[Shard]:
    """As few files as `max_bytes` each allows, tensors in the order given; a larger tensor has a file of its own."""
    groups: list[list[Item]] = [[]]
    size = 0
    for item in items:
        if groups[-1] and size + item.num_bytes > max_bytes:
            groups.append([])
            size = 0
        groups[-1].append(item)
        size += item.num_bytes
    if len(groups) == 1:
        return [_shard("model.safetensors", groups[0])]
    return [_shard(f"model-{i:05d}-of-{len(groups):05d}.safetensors", group) for i, group in enumerate(groups, start=1)]


def _shard(file: str, items: Sequence[Item]) -> Shard:
    """Tensors of wide numbers first, so that each lies at a multiple of its width.

    | 8 bytes: length of the header | header, blanks to a multiple of 8 | tensor | tensor | ...
    """
    entries, offsets, at = {}, [], 0
    for item in sorted(items, key=lambda item: -item.dtype.itemsize):
        end = at + item.num_bytes
        entries[item.name] = {"dtype": _CODES[item.dtype], "shape": list(item.shape), "data_offsets": [at, end]}
        offsets.append((item, at))
        at = end
    text = json.dumps({"__metadata__": {"format": "pt"}, **entries}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    header = struct.pack("<Q", len(text)) + text
    return Shard(file, header, tuple((item, len(header) + offset) for item, offset in offsets))


def index_of(shards: Sequence[Shard]) -> dict[str, object]:
    """`model.safetensors.index.json`, where there are several files."""
    return {
        "metadata": {"total_size": sum(item.num_bytes for shard in shards for item, _ in shard.items)},
        "weight_map": {item.name: shard.file for shard in shards for item, _ in shard.items},
    }
