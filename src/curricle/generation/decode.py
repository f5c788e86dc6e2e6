"""Answers to many prompts in batches: longest prompts first, flush right, no place in the batch left empty.

A row that is finished leaves the batch and a waiting prompt takes its place, so that every pass over the weights
serves as many rows as asked. A model whose heads say more than the next token drafts with them and verifies the drafts
as it goes. For models whose cache cannot exchange rows, and for beams, transformers' own `generate` answers batches of
similar length.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig as HostConfig
from transformers import LogitsProcessor, LogitsProcessorList

from ..errors import ModelError
from ..runtime.progress import bar
from .cache import bare, can_exchange_rows
from .choice import Choice, Row
from .config import GenerationConfig
from .decoder import Decoder, Finished
from .exchange import Batch, by_exchange
from .products import few_rows
from .speculative import Drafted, DraftingBatch, cost_of_drafting, few_enough, no_drafts


def decode(
    model: nn.Module,
    rows: Sequence[Row],
    stop_ids: Sequence[int],
    config: GenerationConfig,
    seed: int = 0,
    finished: Finished = lambda row: None,
    at_once: int | None = None,
) -> Drafted | None:
    """Answer every row; `finished` is called with each as soon as it is. The model's mode is left as it was. Returns
    how many drafts stood, where the model drafted. These rows may be a part of those by which it is decided whether it
    does: `at_once` is then how many of all are answered at once."""
    decoder = Decoder(model, stop_ids, config, Choice(config, seed))
    drafting = drafts(model, config, min(config.batch_size, len(rows)) if at_once is None else at_once)
    drafted = Drafted(bare(model).config.num_extra_heads) if drafting else None
    was_training = model.training
    model.eval()
    try:
        with bar("answering", total=len(rows)) as move, few_rows(model):
            decoder.finished = _counting(finished, move)
            waiting = list(rows)
            while waiting := sorted((row for row in waiting if row.under_way), key=lambda row: -len(row.tokens)):
                try:
                    drafting = _answer(decoder, waiting, drafted if drafting else None)
                except torch.OutOfMemoryError as error:
                    decoder.shrink(error, longest=len(waiting[0].tokens))
    finally:
        model.train(was_training)
    return drafted


def drafts(model: nn.Module, config: GenerationConfig, at_once: int) -> bool:
    """Whether the model's heads draft, as the settings ask and as they can; `auto` where so few rows are answered at
    once that it pays."""
    if config.speculative is False or config.num_beams > 1:
        return False
    why = no_drafts(model)
    if why is not None and config.speculative is True:
        raise ModelError(f"generation.speculative is true, but {why}; set it to auto or false")
    return why is None and (config.speculative is True or few_enough(model, at_once))


def _answer(decoder: Decoder, waiting: list[Row], drafted: Drafted | None) -> bool:
    """To the end; or, and then False, up to where drafts are found to stand too seldom. Drawn answers are no longer the
    same once drafting ends, so there it does not."""
    config = decoder.config
    if drafted is not None:
        judged = config.speculative == "auto" and config.temperature == 0
        batch = DraftingBatch(decoder, drafted, cost_of_drafting(decoder.model) if judged else 0.0)
        by_exchange(batch, waiting)
        return not batch.ended
    if config.num_beams == 1 and can_exchange_rows(decoder.model):
        by_exchange(Batch(decoder), waiting)
    else:
        _by_generate(decoder, waiting)
    return False


def _counting(finished: Finished, move: Callable[..., None] | None) -> Finished:
    """Moves the bar with every answer, and says how fast tokens come."""
    started, tokens = time.perf_counter(), 0

    def count(row: Row) -> None:
        nonlocal tokens
        tokens += len(row.answer)
        if move is not None:
            move(advance=1, description=f"answering, {tokens / (time.perf_counter() - started):,.0f} tokens/s")
        finished(row)

    return count


# --- transformers' own loop --------------------------------------------------------------------------


class _Steered(LogitsProcessor):
    """Lets our choice of tokens decide in transformers' loop: what is not chosen is impossible."""

    def __init__(self, decoder: Decoder, rows: Sequence[Row], width: int) -> None:
        self.decoder, self.rows, self.width = decoder, rows, width

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        new = input_ids[:, self.width :].tolist()
        seen = [row.tokens + tokens for row, tokens in zip(self.rows, new, strict=True)]
        chosen_b = self.decoder.choice(scores, self.rows, seen)
        return torch.full_like(scores, -torch.inf).scatter_(-1, chosen_b[:, None], 0.0)


def _by_generate(decoder: Decoder, waiting: list[Row]) -> None:
    for start in range(0, len(waiting), decoder.size):
        rows = waiting[start : start + decoder.size]
        for row, tokens in zip(rows, _generated(decoder, rows), strict=True):
            decoder.give(row, decoder.agreed(tokens))


def _generated(decoder: Decoder, rows: Sequence[Row]) -> list[list[int]]:
    ids_bt, held_bt = decoder.padded(rows)
    config, width = decoder.config, ids_bt.shape[1]
    beams = config.num_beams > 1
    settings = HostConfig(
        max_new_tokens=max(row.limit + row.num_prompt - len(row.tokens) for row in rows),
        do_sample=False,
        num_beams=config.num_beams,
        temperature=1.0,
        top_p=1.0,
        top_k=50,
        repetition_penalty=config.repetition_penalty if beams else 1.0,
        eos_token_id=decoder.stop_ids,
        pad_token_id=decoder.stop_ids[0],
        use_cache=True,
    )
    steered = [] if beams or decoder.choice.is_plain else [_Steered(decoder, rows, width)]
    with torch.no_grad():
        model: Any = decoder.model
        out_bt = model.generate(
            input_ids=ids_bt.to(decoder.device),
            attention_mask=held_bt.long().to(decoder.device),
            generation_config=settings,
            logits_processor=LogitsProcessorList(steered),
        )
    return out_bt[:, width:].tolist()


def model_stop_ids(model: nn.Module) -> list[int]:
    """The end tokens that came with a model."""
    own = getattr(getattr(bare(model), "generation_config", None), "eos_token_id", None)
    return [] if own is None else [own] if isinstance(own, int) else list(own)
