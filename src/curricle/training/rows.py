"""The name of what is trained on."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data.table import TokenTable


def identity(table: TokenTable, reference_t: npt.NDArray[np.float32] | None = None) -> str:
    """Changes when other examples, other tokens of theirs, other rewards and weights, or other losses of a reference
    model, are trained on."""
    brought = (table.rewards, table.token_weights, reference_t)
    return "-".join([tokens_identity(table), *(_checksum(part) for part in brought if part is not None)])


def tokens_identity(table: TokenTable) -> str:
    """Changes when other examples, or other tokens of theirs, are learned."""
    return "-".join([_checksum(part) for part in (table.offsets, table.tokens, table.supervised)])


def _checksum(part: npt.NDArray[Any]) -> str:
    return f"{zlib.crc32(np.ascontiguousarray(part).data):08x}"
