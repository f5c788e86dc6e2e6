"""From rows of examples to the tensors a causal language model takes.

A packed micro batch is one row of tokens, `[1, T]`; several rows of the packer are put one after the other. Two
examples, a b C D and x Y, where capitals are the tokens to be learned:

    input_ids       a     b    C   D   x     Y
    labels        -100  -100   C   D  -100   Y       aligned with input_ids: the model (or the loss) shifts
    position_ids    0     1    2   3   0     1       restart: each document is read as if it stood alone
    seq_idx         0     0    0   0   1     1       for models with a recurrent or convolutional state
    doc_lens       [4, 2]                            Python ints: reading them never waits for a device

The first label of a document is always -100, so that no document is asked to predict the beginning of the next one.

Tensor suffixes: `_bt` batch x time, `_t` flat tokens of the micro batch, `_d` documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from .packing import PackedRows
    from .table import TokenTable

IGNORE = -100


def collate_packed(table: TokenTable, rows: Sequence[Sequence[int]]) -> dict[str, Any]:
    """One `[1, T]` micro batch holding the documents of `rows`, one after the other."""
    examples_d = np.concatenate([np.asarray(row, dtype=np.int64) for row in rows])
    lens_d = _lens(table, examples_d)
    starts_d = np.cumsum(lens_d) - lens_d
    input_ids_t = gather(table.tokens, table.offsets, examples_d).astype(np.int64)
    labels_t = np.where(gather(table.supervised, table.offsets, examples_d), input_ids_t, IGNORE)
    labels_t[starts_d] = IGNORE
    position_ids_t = np.arange(len(input_ids_t)) - np.repeat(starts_d, lens_d)
    seq_idx_t = np.repeat(np.arange(len(lens_d), dtype=np.int32), lens_d)
    return {
        "input_ids": _row(input_ids_t),
        "labels": _row(labels_t),
        "position_ids": _row(position_ids_t),
        "seq_idx": _row(seq_idx_t),
        "doc_lens": lens_d.tolist(),
        "example_ids": examples_d.tolist(),
    }


def collate_padded(table: TokenTable, examples: Sequence[int], pad_id: int) -> dict[str, Any]:
    """A `[B, T]` micro batch, one example a row, padded on the right to the longest."""
    import torch

    examples_b = np.asarray(examples, dtype=np.int64)
    lens_b = _lens(table, examples_b)
    real_bt = np.arange(lens_b.max()) < lens_b[:, None]
    input_ids_bt = np.full(real_bt.shape, pad_id, dtype=np.int64)
    input_ids_bt[real_bt] = gather(table.tokens, table.offsets, examples_b)
    labels_bt = np.full(real_bt.shape, IGNORE, dtype=np.int64)
    supervised_t = gather(table.supervised, table.offsets, examples_b)
    labels_bt[real_bt] = np.where(supervised_t, input_ids_bt[real_bt], IGNORE)
    labels_bt[:, 0] = IGNORE
    return {
        "input_ids": torch.from_numpy(input_ids_bt),
        "labels": torch.from_numpy(labels_bt),
        "attention_mask": torch.from_numpy(real_bt.astype(np.int64)),
        "example_ids": examples_b.tolist(),
    }


def gather(
    flat: npt.NDArray[Any], offsets: npt.NDArray[np.int64], examples: npt.NDArray[np.integer]
) -> npt.NDArray[Any]:
    """The values of `examples` in that order, one after the other: `flat[offsets[i]:offsets[i + 1]]` of each."""
    flat = np.asarray(flat)  # slicing a memory map costs ten times as much
    begins, ends = offsets[examples].tolist(), offsets[examples + 1].tolist()
    return np.concatenate([flat[begin:end] for begin, end in zip(begins, ends, strict=True)])


def token_rows(table: TokenTable, rows: PackedRows) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """All rows of a finite packing in memory: tokens end to end, and the offsets of the rows."""
    tokens = gather(table.tokens, table.offsets, rows.examples)
    document_ends = np.r_[0, np.cumsum(_lens(table, rows.examples))]
    return tokens, document_ends[rows.starts]


def _lens(table: TokenTable, examples: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    return table.offsets[examples + 1] - table.offsets[examples]


def _row(values_t: npt.NDArray[Any]) -> Any:
    import torch

    return torch.from_numpy(values_t)[None]
