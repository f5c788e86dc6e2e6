"""Flat tables of a few documents, with everything a weighting may ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from curricle.losses.flat import FlatTokens, last_of_documents


def flat(lengths: Sequence[int], seed: int = 0, **columns: Any) -> FlatTokens:
    """Documents of these many learned tokens; columns that are not given are drawn in float64."""
    generator = torch.Generator().manual_seed(seed)
    num, counts_d = sum(lengths), torch.tensor(lengths)
    doc_n = torch.arange(len(lengths)).repeat_interleave(counts_d)
    position_n = torch.cat([torch.arange(2, 2 + length) for length in lengths])

    def drawn() -> Tensor:
        return torch.rand(num, generator=generator, dtype=torch.float64)

    before_n = drawn()
    tokens = FlatTokens(
        torch.randint(0, 50, (num,), generator=generator),
        doc_n,
        position_n,
        loss_n=3 * drawn(),
        example_n=10 + doc_n,
        last_n=last_of_documents(doc_n),
        reward_n=(doc_n % 2 == 0).to(torch.float32),
        before_n=before_n,
        after_n=torch.where(last_of_documents(doc_n), drawn(), before_n.roll(-1)),
        reference_n=3 * drawn(),
        given_n=drawn(),
    )
    return replace(tokens, **columns)


def part(tokens: FlatTokens, rows: Any) -> FlatTokens:
    """Some rows of a table."""
    found = {name: value[rows] for name, value in vars(tokens).items() if isinstance(value, Tensor)}
    return replace(tokens, **found)
