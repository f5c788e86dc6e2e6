"""transformers' own `generate` with the drafts of parallel heads."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from curricle.errors import ModelError
from generation.drafting import drafting
from generation.reference import STOP_IDS, some_prompts


def passes(model: Any) -> list[int]:
    """The number of tokens of each pass over the model."""
    read: list[int] = []
    model.register_forward_pre_hook(
        lambda module, args, given: read.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    return read


def generated(model: Any, prompt: list[int], **how: Any) -> list[int]:
    ids = torch.tensor([prompt])
    settings = {"max_new_tokens": 25, "do_sample": False, "eos_token_id": STOP_IDS, "pad_token_id": 0, **how}
    out: Tensor = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **settings)
    return out[0, len(prompt) :].tolist()


@pytest.mark.parametrize("how", [{}, {"repetition_penalty": 1.3}, {"max_new_tokens": 2}])
@pytest.mark.parametrize("kind", ["llama", "mistral"])
def test_greedy_tokens_are_those_without_drafts(kind: str, how: dict[str, Any]) -> None:
    model = drafting(kind)
    read = passes(model)
    for prompt in some_prompts(4):
        read.clear()
        wanted = generated(model, prompt, **how)
        alone = len(read)
        read.clear()
        assert generated(model, prompt, use_mtp=True, **how) == wanted
        assert set(read[1:]) <= {4}
        assert len(read) < alone or alone <= 2


def test_drawn_tokens_stand_by_the_scores_that_they_were_drawn_by() -> None:
    """Of the likeliest token alone all draws are greedy; of more, the same drafts are judged by both distributions."""
    model, prompt = drafting("llama"), some_prompts(2)[1]
    assert generated(model, prompt, use_mtp=True, do_sample=True, top_k=1) == generated(model, prompt)
    read = passes(model)
    torch.manual_seed(0)
    answers = {
        tuple(generated(model, prompt, use_mtp=True, do_sample=True, temperature=8.0, top_k=4)) for _ in range(5)
    }
    assert len(answers) > 1
    assert len(read) < sum(map(len, answers))


def test_a_cache_that_the_heads_have_not_read_is_refused() -> None:
    model = drafting("llama")
    ids = torch.tensor([some_prompts(1)[0]])
    cache = model(input_ids=ids[:, :-1], use_cache=True).past_key_values
    with pytest.raises(ModelError, match="which the extra heads have not read; give it the whole prompt"):
        model.generate(input_ids=ids, past_key_values=cache, use_mtp=True, max_new_tokens=4, do_sample=False)
