"""What a row of tokens is, and every example of a table once: the batches that losses are measured on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from ..runtime import ranks
from .collation import IGNORE, collate_packed, collate_padded
from .packing import pack
from .table import TokenTable

Batch = dict[str, Any]


@dataclass(frozen=True)
class Rows:
    """What a row of tokens is."""

    max_length: int = 1024
    """Tokens a packed row can hold; no example may be longer."""
    packing: Literal["none", "ordered"] = "ordered"
    """`ordered`: a row holds several examples, in the order's sequence; `none`: a row is one example, padded."""
    lookahead: int = 256
    """Examples the packer may choose from."""
    pad_id: int = 0
    source_weights: tuple[float, ...] | None = None
    """How often a pass of training takes the examples of each data source; by default once."""

    @property
    def window(self) -> int:
        """The packer's look-ahead; with 1 a row holds one example."""
        return self.lookahead if self.packing == "ordered" else 1

    def collate(self, table: TokenTable, rows: Sequence[Sequence[int]]) -> Batch:
        if self.packing == "ordered":
            return collate_packed(table, rows)
        return collate_padded(table, [example for row in rows for example in row], self.pad_id)

    def num_slots(self, lengths_r: npt.NDArray[np.integer], batch: int) -> int:
        """Token positions that rows of these lengths take: whole rows when packed, padded batches otherwise."""
        if self.packing == "ordered":
            return len(lengths_r) * self.max_length
        batches = (lengths_r[start : start + batch] for start in range(0, len(lengths_r), batch))
        return sum(len(part) * int(part.max()) for part in batches)


class EvaluationBatches:
    """Each example once over all ranks; every rank gets the same number of batches, as collectives need.

    Where there are fewer rows than ranks to share them, a rank gets a batch with nothing to learn and no `example_ids`:
    it keeps the ranks in step and adds nothing to any sum.
    """

    def __init__(self, table: TokenTable, rows: Rows, batch_size: int, rank: int, world: int) -> None:
        check_lengths(table, rows.max_length)
        self.table, self.rows = table, rows
        self._packed = pack(table.lengths, rows.max_length, rows.window)
        num_batches = math.ceil(len(self._packed) / (batch_size * world))
        parts = np.array_split(np.arange(len(self._packed)), num_batches * world)
        self._parts = parts[rank::world]

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[Batch]:
        for part in self._parts:
            rows = [self._packed[int(row)] for row in part]
            yield self.rows.collate(self.table, rows) if rows else _idle(self.rows.collate(self.table, [[0]]))


def evaluation_batches(table: TokenTable, rows: Rows, batch_size: int = 1) -> EvaluationBatches:
    """This rank's share of a table, in its own order, `batch_size` rows at a time."""
    return EvaluationBatches(table, rows, batch_size, ranks.rank(), ranks.world_size())


def _idle(batch: Batch) -> Batch:
    import torch

    return {**batch, "labels": torch.full_like(batch["labels"], IGNORE), "example_ids": []}


def check_lengths(table: TokenTable, max_length: int) -> None:
    """Refuse, by its name, an example that no row can hold."""
    if not len(table):
        raise DataError("no example to make batches of: the table is empty; check `data` and its report")
    lengths = table.lengths
    longest = int(np.argmax(lengths))
    if lengths[longest] > max_length:
        raise DataError(
            f"example `{table.ids[longest]}` has {lengths[longest]} tokens and a row holds {max_length}; no example is "
            "split: raise `data.max_length`, or let `data.on_long` truncate it or cut it into windows"
        )
