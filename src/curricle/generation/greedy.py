"""Greedy answers to many prompts: sorted by length, padded on the left, given back in the order they came."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..runtime.progress import track

if TYPE_CHECKING:
    from torch import nn


def greedy_tokens(
    model: nn.Module, prompts: list[list[int]], stop_ids: list[int], max_new_tokens: int, batch_size: int = 16
) -> list[list[int]]:
    """The new tokens after each prompt, up to and without the first stop token. Takes no random number."""
    import torch

    pad = stop_ids[0]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    answers: list[list[int]] = [[] for _ in prompts]
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        for start in track(range(0, len(order), batch_size), "generating", total=-(-len(order) // batch_size)):
            chosen = order[start : start + batch_size]
            width = max(len(prompts[i]) for i in chosen)
            ids = torch.full((len(chosen), width), pad, device=device)
            mask = torch.zeros_like(ids)
            for row, i in enumerate(chosen):
                ids[row, width - len(prompts[i]) :] = torch.tensor(prompts[i], device=device)
                mask[row, width - len(prompts[i]) :] = 1
            settings: dict[str, Any] = {"do_sample": False, "num_beams": 1, "max_new_tokens": max_new_tokens}
            settings |= {"eos_token_id": stop_ids, "pad_token_id": pad, "use_cache": True}
            with torch.no_grad():
                out = model.generate(input_ids=ids, attention_mask=mask, **settings)  # type: ignore[operator]
            for row, i in enumerate(chosen):
                answers[i] = _until_stop(out[row, width:].tolist(), stop_ids)
    finally:
        model.train(was_training)
    return answers


def _until_stop(tokens: list[int], stop_ids: list[int]) -> list[int]:
    for place, token in enumerate(tokens):
        if token in stop_ids:
            return tokens[:place]
    return tokens
