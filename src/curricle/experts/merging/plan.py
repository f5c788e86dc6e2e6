"""What a merge is, decided before a byte is written: the inputs, the rule of every tensor, the form of the output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ...runtime.fingerprint import fingerprint
from ..checkpoint import Checkpoint
from .config import SPARSE, MergeSettings
from .inputs import Expert
from .layout import Item, Shard, lay_out
from .methods import Options

FORMAT = 1
"""Of what an interrupted merge leaves behind; another number, and it begins anew."""


Rule = tuple[tuple[float, ...], Options]
"""The weight of each expert in one tensor, and what else is done there."""


@dataclass
class Plan:
    """All that decides the output."""

    base: Checkpoint
    experts: Sequence[Expert]
    rule_of: Callable[[str], Rule]
    settings: MergeSettings
    about: dict[str, Any]
    """Method, weights and so on as asked, for the card and `merge.json`."""
    from_zero: bool = False
    """The experts are added up as they are: a mean of models, to which the base gives shapes and files only."""
    other_files: dict[str, str] = field(default_factory=dict)
    """Texts that are written beside the model, by file name."""

    @cached_property
    def shards(self) -> list[Shard]:
        return lay_out([self._item(name) for name in self.base.names], self.settings.max_shard_bytes)

    def _item(self, name: str) -> Item:
        dtype = self.base.dtype(name)
        if self.settings.dtype is not None and dtype.is_floating_point:
            dtype = getattr(torch, self.settings.dtype)
        return Item(name, self.base.shape(name), dtype)

    @property
    def num_bytes(self) -> int:
        return sum(shard.num_bytes for shard in self.shards)

    @property
    def read_bytes(self) -> int:
        """Of the base and of all that an expert says, at most."""
        said = sum(expert.num_bytes for expert in self.experts)
        return said + sum(self.base.num_bytes(name) for name in self.base.names)

    @property
    def is_sparse(self) -> bool:
        return self.about["method"] in SPARSE

    @cached_property
    def fingerprint(self) -> str:
        """Another one where anything that decides a byte of the output is another; files go by size and time."""
        files = [_state(self.base.folder), *(_state(expert.folder) for expert in self.experts)]
        rules = [(name, *self.rule_of(name)) for name in self.base.names]
        headers = [(shard.file, shard.header.decode("latin-1")) for shard in self.shards]
        rounding = (self.settings.rounding, self.settings.seed)
        names = [expert.name for expert in self.experts]
        return fingerprint(FORMAT, files, names, rules, headers, rounding, self.from_zero)


def _state(folder: Path) -> list[Any]:
    """Which weights lie in a folder, without reading them."""
    files = sorted(path for pattern in ("*.safetensors", "*.npy", "*.bin", "*.json") for path in folder.glob(pattern))
    return [str(folder.resolve()), *((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files)]
