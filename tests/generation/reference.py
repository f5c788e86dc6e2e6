"""The slow exact reference: transformers' `generate`, one prompt at a time; and models whose answers depend on all
that was said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from curricle.generation.choice import Row
from models.families import VOCABULARY, build

STOP_IDS = [3, 7, 11]
TIE = 1e-4


def sharpened(kind: str, attention: str = "sdpa", **changes: Any) -> Any:
    """Weights several times as large as at the start of training, so that attention decides what comes next."""
    model = build(kind, attention, **changes)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4.0)
    return model


def some_prompts(num: int, longest: int = 30, seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, longest, (num,), generator=generator).tolist()
    return [torch.randint(12, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]


def rows_of(prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> list[Row]:
    pairs = zip(prompts, limits, strict=True)
    return [Row(i, list(prompt), limit, f"row {i}") for i, (prompt, limit) in enumerate(pairs)]


def one_by_one(model: Any, prompts: Sequence[Sequence[int]], limits: Sequence[int], **settings: Any) -> list[list[int]]:
    answers = []
    for prompt, limit in zip(prompts, limits, strict=True):
        ids = torch.tensor([list(prompt)])
        how = {"do_sample": False, "max_new_tokens": limit, "eos_token_id": STOP_IDS, "pad_token_id": 0, **settings}
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **how)[0, len(prompt) :].tolist()
        end = next((place for place, token in enumerate(out) if token in STOP_IDS), len(out))
        answers.append(out[:end])
    return answers


def gap_at_difference(model: Any, prompt: Sequence[int], one: Sequence[int], other: Sequence[int]) -> float | None:
    """How far apart the two likeliest tokens are where two answers part; None when they never do."""
    if list(one) == list(other):
        return None
    ended = min(len(one), len(other))
    place = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), ended)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*prompt, *one[:place]]])).logits[0, -1]
    first, second = logits.topk(2).values.tolist()
    return float(first - second)
