"""Rows that come and go: a finished row leaves the batch and a waiting prompt takes its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from .cache import Part, new_cache, stacked
from .choice import Row
from .decoder import Decoder

READ_AT_ONCE = 2048
"""Prompt tokens of one pass, padding counted; a longer prompt has a pass of its own."""

_WORTH = 4  # exchanging rows copies the cache: it waits until a quarter of the batch is finished


class Batch:
    """The rows under way and their cache. The mask `held_bt` says which of its columns hold something of a row."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.rows: list[Row] = []
        self.held_bt = torch.zeros(0, 0, dtype=torch.bool)
        self.cache: DynamicCache | None = None
        self.ended = False
        """Whether another kind of batch is to go on with the rows that are not finished."""

    def new_cache(self) -> DynamicCache:
        return new_cache(self.decoder.model)

    @torch.no_grad()
    def step(self) -> None:
        """One more token for every row."""
        last_b1 = torch.tensor([[row.tokens[-1]] for row in self.rows])
        self.held_bt = torch.cat([self.held_bt, torch.ones(last_b1.shape, dtype=torch.bool)], dim=1)
        logits_btv = self.forward(last_b1, self.held_bt, self.cache, **self.decoder.only_last).logits
        self.decoder.take(self.rows, self.decoder.choice(logits_btv[:, -1].float(), self.rows).tolist())

    @torch.no_grad()
    def exchange(self, joining: list[Row]) -> None:
        """Finished rows out, these in, each with its first new token."""
        kept = [place for place, row in enumerate(self.rows) if row.under_way]
        parts: list[Part] = [(self.cache, kept, self.held_bt)] if kept and self.cache is not None else []
        self.cache, chosen = None, []
        for group in _groups(joining):
            ids_bt, held_bt = self.decoder.padded(group)
            cache = self.new_cache()
            chosen += self.read(group, ids_bt, held_bt, cache)
            parts.append((cache, list(range(len(group))), held_bt))
        self.rows = [self.rows[place] for place in kept] + joining
        if parts:
            self.cache, self.held_bt = stacked(parts)
        self.decoder.take(joining, chosen)

    def read(self, group: list[Row], ids_bt: Tensor, held_bt: Tensor, cache: DynamicCache) -> list[int]:
        """The first new token of each of these prompts; they fill the cache."""
        logits_btv = self.forward(ids_bt, held_bt, cache, **self.decoder.only_last).logits
        chosen: list[int] = self.decoder.choice(logits_btv[:, -1].float(), group).tolist()
        return chosen

    def forward(self, ids_bt: Tensor, held_bt: Tensor, cache: DynamicCache | None, **how: Any) -> Any:
        device, mask_bt = self.decoder.device, held_bt.long()
        position_ids_bt = (mask_bt.cumsum(-1) - 1).clamp(min=0)[:, -ids_bt.shape[1] :]
        return self.decoder.model(
            input_ids=ids_bt.to(device),
            attention_mask=mask_bt.to(device),
            position_ids=position_ids_bt.to(device),
            past_key_values=cache,
            use_cache=True,
            **how,
        )


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


def by_exchange(batch: Batch, waiting: list[Row]) -> None:
    """Answer all rows in this batch, which is empty."""
    decoder, waiting = batch.decoder, list(waiting)
    while not batch.ended:
        live = sum(row.under_way for row in batch.rows)
        if not live and not waiting:
            return
        free = decoder.size - live if waiting else len(batch.rows) - live
        if not live or free * _WORTH >= max(len(batch.rows), _WORTH):
            joining, waiting = (waiting[:free], waiting[free:]) if waiting else ([], [])
            batch.exchange(joining)
        else:
            batch.step()
