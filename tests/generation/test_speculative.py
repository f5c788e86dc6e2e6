"""A model that drafts for itself answers as it does without drafts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from curricle.generation.choice import Row
from curricle.generation.config import GenerationConfig
from curricle.generation.decode import decode
from curricle.generation.speculative import Drafted
from curricle.models.mtp.making import add_heads
from generation.reference import STOP_IDS, TIE, gap_at_difference, one_by_one, rows_of, sharpened, some_prompts

LIMITS = [20, 3, 25, 9, 1, 17, 25, 12, 6, 25, 14]


def drafting(kind: str = "llama", num: int = 4, attention: str = "sdpa", noise: float = 0.02, **changes: Any) -> Any:
    """A model whose extra heads often guess what head 1 says next: answers run in circles, and the heads know one."""
    model = add_heads(sharpened(kind, attention, num_hidden_layers=3, **changes), num).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.extra_heads.parameters():
            parameter.add_(torch.randn_like(parameter) * noise)
    return model


def answered(
    model: Any, prompts: list[list[int]], limits: list[int], seed: int = 0, **settings: Any
) -> tuple[list[Row], Drafted | None]:
    rows = rows_of(prompts, limits)
    drafted = decode(model, rows, STOP_IDS, GenerationConfig(**settings), seed)
    return rows, drafted


def assert_same_but_for_ties(model: Any, prompts: list[list[int]], rows: list[Row], wanted: list[list[int]]) -> None:
    triples = zip(prompts, rows, wanted, strict=True)
    gaps = [gap_at_difference(model, prompt, want, row.answer) for prompt, row, want in triples]
    parted = [gap for gap in gaps if gap is not None]
    assert all(gap <= TIE for gap in parted)
    assert len(parted) <= 1


@pytest.mark.parametrize("kind", ["llama", "qwen2", "mistral", "qwen3", "olmo2", "phi3"])
def test_greedy_answers_are_those_without_drafts(kind: str) -> None:
    model = drafting(kind)
    prompts = some_prompts(len(LIMITS))
    wanted = one_by_one(model, prompts, LIMITS)
    for batch_size in (1, 3, 16):
        rows, drafted = answered(model, prompts, LIMITS, batch_size=batch_size)
        assert_same_but_for_ties(model, prompts, rows, wanted)
        print(kind, batch_size, drafted.about())
