"""The flat table: which positions are kept, and which token, document and place they belong to."""

from __future__ import annotations

import torch

from curricle.losses import FlatTokens, flatten, keep_mask

PACKED_LABELS = torch.tensor([[-100, -100, 7, -100, 8, 9]])  # documents of three tokens
POSITIONS = torch.tensor([[0, 1, 2, 0, 1, 2]])


def test_the_drawn_example() -> None:
    keep = keep_mask(PACKED_LABELS)
    tokens = flatten(PACKED_LABELS, keep, {"position_ids": POSITIONS}, ["a", "b"])
    assert keep.tolist() == [[False, True, False, True, True, False]]
    assert tokens.target_n.tolist() == [7, 8, 9]
    assert tokens.doc_n.tolist() == [0, 1, 1]
    assert tokens.position_n.tolist() == [2, 1, 2]
    assert tokens.last_n is not None
    assert tokens.last_n.tolist() == [True, False, True]
    assert tokens.example_ids == ["a", "b"]
    assert len(tokens) == 3


def test_padding_on_either_side_counts_for_nothing() -> None:
    labels = torch.tensor([[-100, 5, 6, -100], [-100, -100, -100, 6]])
    mask = torch.tensor([[1, 1, 1, 0], [0, 0, 1, 1]])
    tokens = flatten(labels, keep_mask(labels), {"attention_mask": mask})
    assert tokens.target_n.tolist() == [5, 6, 6]
    assert tokens.doc_n.tolist() == [0, 0, 1]
    assert tokens.position_n.tolist() == [1, 2, 1]


def test_without_mask_or_positions_a_row_is_a_document() -> None:
    labels = torch.tensor([[-100, 5, 6], [-100, -100, 6]])
    tokens = flatten(labels, keep_mask(labels), {})
    assert tokens.doc_n.tolist() == [0, 0, 1]
    assert tokens.position_n.tolist() == [1, 2, 2]


def test_a_first_label_has_no_state_before_it() -> None:
    labels = torch.tensor([[3, 5], [4, -100]])
    assert keep_mask(labels).tolist() == [[True, False], [False, False]]
    assert flatten(labels, keep_mask(labels), {}).target_n.tolist() == [5]


def test_nothing_supervised_is_an_empty_table() -> None:
    labels = torch.full((2, 4), -100)
    assert len(flatten(labels, keep_mask(labels), {})) == 0


def test_losses_in_the_table_are_detached() -> None:
    tokens = FlatTokens(*torch.zeros(3, 2, dtype=torch.long))
    loss = torch.ones(2, requires_grad=True)
    assert tokens.loss_n is None
    known = tokens.with_losses(loss).loss_n
    assert known is not None
    assert not known.requires_grad
