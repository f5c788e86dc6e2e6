"""Tensors of packed and padded micro batches against a slow reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from curricle.data.collation import collate_packed, collate_padded, token_rows
from curricle.data.packing import pack
from curricle.data.table import TokenTable


@pytest.fixture
def table() -> TokenTable:
    rng = np.random.default_rng(0)
    input_ids = [rng.integers(5, 1000, rng.integers(2, 9)).tolist() for _ in range(12)]
    labels = [[-100, *(t if rng.random() < 0.6 else -100 for t in tokens[1:])] for tokens in input_ids]
    return TokenTable.from_lists(input_ids, labels)


def test_the_drawn_example() -> None:
    table = TokenTable.from_lists([[1, 2, 3, 4], [5, 6]], [[-100, -100, 3, 4], [5, 6]])
    batch = collate_packed(table, [[0, 1]])
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5, 6]]
    assert batch["labels"].tolist() == [[-100, -100, 3, 4, -100, 6]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 0, 1]]
    assert batch["seq_idx"].tolist() == [[0, 0, 0, 0, 1, 1]]
    assert batch["doc_lens"] == [4, 2]
    assert batch["example_ids"] == [0, 1]
    assert all(type(value) is int for value in batch["doc_lens"] + batch["example_ids"])
    assert "attention_mask" not in batch


def test_packed_rows_follow_each_other(table: TokenTable) -> None:
    rows = [[3, 0], [7], [11, 2, 5]]
    batch = collate_packed(table, rows)
    assert batch["example_ids"] == [3, 0, 7, 11, 2, 5]
    at = 0
    for number, example in enumerate(batch["example_ids"]):
        tokens, supervised = table.example(example)
        part = slice(at, at := at + len(tokens))
        labels = [int(t) if learned else -100 for t, learned in zip(tokens, supervised, strict=True)]
        assert batch["input_ids"][0, part].tolist() == tokens.tolist()
        assert batch["labels"][0, part].tolist() == labels
        assert batch["labels"][0, part][0] == -100
        assert batch["position_ids"][0, part].tolist() == list(range(len(tokens)))
        assert batch["seq_idx"][0, part].unique().tolist() == [number]
    assert at == batch["input_ids"].shape[1] == sum(batch["doc_lens"])
    assert (batch["labels"] != -100).sum() == table.num_supervised[batch["example_ids"]].sum()
    assert {key: batch[key].dtype for key in ("input_ids", "labels", "position_ids", "seq_idx")} == {
        "input_ids": torch.int64,
        "labels": torch.int64,
        "position_ids": torch.int64,
        "seq_idx": torch.int32,
    }


def test_a_mask_that_learns_a_first_token_is_corrected() -> None:
    """The border holds whatever the table says: a document never predicts the beginning of the next one."""
    table = TokenTable.from_lists([[1, 2], [3, 4]], [[-100, 2], [-100, 4]])
    table.supervised[:] = True
    assert collate_packed(table, [[0, 1]])["labels"].tolist() == [[-100, 2, -100, 4]]
    assert collate_padded(table, [0, 1], pad_id=0)["labels"].tolist() == [[-100, 2], [-100, 4]]


def test_padded_rows(table: TokenTable) -> None:
    examples = [4, 4, 9]
    batch = collate_padded(table, examples, pad_id=999_999)
    width = int(table.lengths[examples].max())
    for row, example in enumerate(examples):
        tokens, supervised = table.example(example)
        pad = width - len(tokens)
        labels = [int(t) if learned else -100 for t, learned in zip(tokens, supervised, strict=True)]
        assert batch["input_ids"][row].tolist() == tokens.tolist() + [999_999] * pad
        assert batch["labels"][row].tolist() == labels + [-100] * pad
        assert batch["attention_mask"][row].tolist() == [1] * len(tokens) + [0] * pad
    assert batch["example_ids"] == examples


def test_a_pad_that_is_also_a_real_token_hides_nothing() -> None:
    """Padding is known by length, not by looking for the pad id, so an end of turn that is also the pad stays real."""
    batch = collate_padded(TokenTable.from_lists([[1, 2, 0], [1]], [[-100, 2, 0], [-100]]), [0, 1], pad_id=0)
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[-100, 2, 0], [-100, -100, -100]]


def test_token_rows_are_the_collated_tokens(table: TokenTable) -> None:
    packed = pack(table.lengths, budget=10, lookahead=4)
    tokens, offsets = token_rows(table, packed)
    assert tokens.dtype == np.uint32
    assert len(tokens) == offsets[-1] == len(table.tokens)
    for row in range(len(packed)):
        expected = collate_packed(table, [packed[row]])["input_ids"][0].tolist()
        assert tokens[offsets[row] : offsets[row + 1]].tolist() == expected
