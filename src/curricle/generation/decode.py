"""Answers to many prompts in batches: longest prompts first, flush right, no place in the batch left empty.

A row that is finished leaves the batch and a waiting prompt takes its place, so that every pass over the weights
serves as many rows as asked. For models whose cache cannot exchange rows, and for beams, transformers' own `generate`
answers batches of similar length.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, LogitsProcessor, LogitsProcessorList
from transformers import GenerationConfig as HostConfig

from ..errors import ModelError
from ..runtime.progress import bar, say
from ..runtime.ranks import shared
from .cache import accepted, bare, can_exchange_rows, new_cache, stacked
from .choice import Choice, Row
from .config import GenerationConfig

Finished = Callable[[Row], None]

READ_AT_ONCE = 2048
"""Prompt tokens of one pass, padding counted; a longer prompt has a pass of its own."""

_WORTH = 4  # exchanging rows copies the cache: it waits until a quarter of the batch is finished


def decode(
    model: nn.Module,
    rows: Sequence[Row],
    stop_ids: Sequence[int],
    config: GenerationConfig,
    seed: int = 0,
    finished: Finished = lambda row: None,
) -> None:
    """Answer every row; `finished` is called with each as soon as it is. The model's mode is left as it was."""
    batches = _by_exchange if config.num_beams == 1 and can_exchange_rows(model) else _by_generate
    decoder = Decoder(model, stop_ids, config, Choice(config, seed))
    was_training = model.training
    model.eval()
    try:
        with bar("answering", total=len(rows)) as move:
            decoder.finished = _counting(finished, move)
            waiting = list(rows)
            while waiting := sorted((row for row in waiting if row.under_way), key=lambda row: -len(row.tokens)):
                try:
                    batches(decoder, waiting)
                except torch.OutOfMemoryError as error:
                    decoder.shrink(error, longest=len(waiting[0].tokens))
    finally:
        model.train(was_training)


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


class Decoder:
    """What every batch needs, and how many rows one may have."""

    def __init__(self, model: nn.Module, stop_ids: Sequence[int], config: GenerationConfig, choice: Choice) -> None:
        self.model, self.config, self.choice = model, config, choice
        self.stop_ids = list(stop_ids)
        self.size = config.batch_size
        self.device = next(model.parameters()).device
        self.only_last = {"logits_to_keep": 1} if "logits_to_keep" in accepted(model) else {}
        self.is_sharded = is_sharded(model)
        self.finished: Finished = lambda row: None

    def shrink(self, error: torch.OutOfMemoryError, longest: int) -> None:
        """Half the rows from now on. Their answers so far are kept and go on as part of the prompt."""
        if self.size == 1 or self.is_sharded:  # ranks that share the weights have to stay in step
            raise ModelError(
                f"out of memory while answering {self.size} prompts at once, the longest of {longest} tokens; "
                "set a smaller generation.batch_size or data.max_length"
            ) from error
        self.size //= 2
        say(f"out of memory: answering {self.size} prompts at once from now on")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def take(self, rows: Sequence[Row], tokens: Sequence[int]) -> None:
        """Give each row that is under way its next token."""
        if self.is_sharded:  # each rank answers the same rows, and not one bit may differ
            tokens = shared(list(tokens))
        for row, token in zip(rows, tokens, strict=True):
            if not row.under_way:
                continue
            if token in self.stop_ids:
                row.finished = True
            else:
                row.tokens.append(token)
                row.finished = row.ends is not None and row.ends(row)
            if not row.under_way:
                self.finished(row)

    def padded(self, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
        """Tokens and mask, flush right."""
        width = max(len(row.tokens) for row in rows)
        ids_bt = torch.tensor([[self.stop_ids[0]] * (width - len(row.tokens)) + row.tokens for row in rows])
        return ids_bt.to(self.device), self.mask([len(row.tokens) for row in rows], width)

    def mask(self, lengths: Sequence[int], width: int) -> Tensor:
        lengths_b1 = torch.tensor(lengths)[:, None]
        return (torch.arange(width) >= width - lengths_b1).long().to(self.device)


# --- rows that come and go ---------------------------------------------------------------------------


class _Batch:
    """The rows under way and their cache. `lengths` counts what the cache holds of each row."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.rows: list[Row] = []
        self.lengths: list[int] = []
        self.columns = 0
        self.cache: DynamicCache | None = None

    @torch.no_grad()
    def step(self) -> None:
        """One more token for every row."""
        self.columns += 1
        self.lengths = [length + 1 for length in self.lengths]
        assert self.cache is not None
        last_b1 = torch.tensor([[row.tokens[-1]] for row in self.rows]).to(self.decoder.device)
        mask_bt = self.decoder.mask(self.lengths, self.columns)
        logits_bv = self._logits(last_b1, mask_bt, self.cache)
        self.decoder.take(self.rows, self.decoder.choice(logits_bv, self.rows).tolist())

    @torch.no_grad()
    def exchange(self, joining: list[Row]) -> None:
        """Finished rows out, these in, each with its first new token."""
        kept = [place for place, row in enumerate(self.rows) if row.under_way]
        parts = [(self.cache, kept)] if kept and self.cache is not None else []
        self.cache, chosen = None, []
        for group in _groups(joining):
            cache = new_cache(self.decoder.model)
            logits_bv = self._logits(*self.decoder.padded(group), cache)
            chosen += self.decoder.choice(logits_bv, group).tolist()
            parts.append((cache, list(range(len(group)))))
        self.lengths = [self.lengths[place] for place in kept] + [len(row.tokens) for row in joining]
        self.columns = max(self.lengths, default=0)
        self.rows = [self.rows[place] for place in kept] + joining
        if parts:
            self.cache = stacked(parts, self.columns)
        self.decoder.take(joining, chosen)

    def _logits(self, ids_bt: Tensor, mask_bt: Tensor, cache: DynamicCache) -> Tensor:
        position_ids_bt = (mask_bt.cumsum(-1) - 1).clamp(min=0)[:, -ids_bt.shape[1] :]
        out = self.decoder.model(
            input_ids=ids_bt,
            attention_mask=mask_bt,
            position_ids=position_ids_bt,
            past_key_values=cache,
            use_cache=True,
            **self.decoder.only_last,
        )
        return out.logits[:, -1].float()


def _groups(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Rows that are read in one pass: of similar length, and together not so many that memory, not arithmetic, sets
    the pace."""
    group: list[Row] = []
    for row in rows:  # the longest is first
        if group and len(group[0].tokens) * (len(group) + 1) > READ_AT_ONCE:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _by_exchange(decoder: Decoder, waiting: list[Row]) -> None:
    batch, waiting = _Batch(decoder), list(waiting)
    while True:
        live = sum(row.under_way for row in batch.rows)
        if not live and not waiting:
            return
        free = decoder.size - live if waiting else len(batch.rows) - live
        if not live or free * _WORTH >= max(len(batch.rows), _WORTH):
            joining, waiting = (waiting[:free], waiting[free:]) if waiting else ([], [])
            batch.exchange(joining)
        else:
            batch.step()


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
            for token in tokens:
                if row.under_way:
                    decoder.take([row], [token])


def _generated(decoder: Decoder, rows: Sequence[Row]) -> list[list[int]]:
    ids_bt, mask_bt = decoder.padded(rows)
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
            input_ids=ids_bt,
            attention_mask=mask_bt,
            generation_config=settings,
            logits_processor=LogitsProcessorList(steered),
        )
    return out_bt[:, width:].tolist()


def is_sharded(model: nn.Module) -> bool:
    """Whether ranks hold a share of each weight, and so have to go through the model together."""
    return any(hasattr(parameter, "full_tensor") for parameter in model.parameters())


def model_stop_ids(model: nn.Module) -> list[int]:
    """The end tokens that came with a model."""
    own = getattr(getattr(bare(model), "generation_config", None), "eos_token_id", None)
    return [] if own is None else [own] if isinstance(own, int) else list(own)
