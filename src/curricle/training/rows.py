"""Between a table of tokens and a model: the name of what is trained on, and a batch as the forward pass takes it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..data.table import TokenTable
from ..models.attention import documents, packed_rows


@contextmanager
def for_model(batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A batch as the model's forward takes it, inside the setting its attention needs."""
    if "doc_lens" not in batch:
        yield batch
        return
    inputs = {name: value for name, value in batch.items() if name != "doc_lens"}
    with packed_rows():
        yield inputs | documents(batch["doc_lens"], batch["input_ids"].device)


def identity(table: TokenTable) -> str:
    """Changes when other examples, or other tokens of theirs, are trained on."""
    parts = (table.offsets, table.tokens, table.supervised)
    return "-".join(f"{zlib.crc32(np.ascontiguousarray(part).data):08x}" for part in parts)
