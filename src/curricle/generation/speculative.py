"""A multi-token model drafts with its own heads: each pass verifies the drafts before it and makes the next ones.

    pass 1   read  the prompt, to `a`      head 1: b      heads 2 to 4: c d e           1 token
    pass 2   read  b c d e                 head 1: c d x  so c and d stand, and x       3 tokens
                                           heads 2 to 4, read where d stands: f g h
    pass 3   read  x f g h                 ...

The state behind the last token that stands makes the next drafts, so that no other model and no other pass is needed.
Where drafts were refused the cache is rolled back: columns that no row needs are cut off, and what only some rows need
is masked in the others, until too many columns are empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from ..models.mtp.model import MtpForCausalLM
from .cache import bare, can_exchange_rows, drafting_cache, stacked
from .choice import Row
from .decoder import Decoder
from .exchange import Batch
from .products import FEW
from .verify import accepted, behind, drawn, matching

_EMPTY = 0.25  # the share of columns beyond the longest row that may be lost before what is held moves together
_CROPPED = (DynamicLayer, DynamicSlidingWindowLayer)
_LENGTH_DEPENDENT = ("dynamic", "longrope")
_CHEAP = {"cpu": FEW}
_CHEAP_ELSEWHERE = 256
"""Tokens of one pass up to which reading the weights sets its time, so that drafts cost little; beyond, arithmetic
does, and a refused draft costs what a token costs."""
_TRIED = 64  # calls after which it is judged whether drafts stand often enough


@dataclass
class Drafted:
    """How drafts fared: passes over each row, the tokens that they gave, and how often the drafts at each distance
    stood."""

    num_drafts: int
    calls: int = 0
    tokens: int = 0
    accepted: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.accepted = self.accepted or [0] * self.num_drafts

    def count(self, run: Sequence[int], used: int) -> None:
        """One pass over a row; of the drafts that stood and the token behind them, so many were used."""
        self.calls += 1
        self.tokens += used
        for place in range(min(used, len(run) - 1)):
            self.accepted[place] += 1

    def add(self, other: Drafted) -> None:
        self.calls += other.calls
        self.tokens += other.tokens
        self.accepted = [one + more for one, more in zip(self.accepted, other.accepted, strict=True)]

    def about(self) -> dict[str, Any]:
        """The counts, tokens a call, and the share of calls in which the draft at each distance stood."""
        calls = max(1, self.calls)
        return {
            "calls": self.calls,
            "tokens": self.tokens,
            "accepted": self.accepted,
            "tokens_per_call": round(self.tokens / calls, 4),
            "acceptance": [round(count / calls, 4) for count in self.accepted],
        }


def in_all(counts: Sequence[Drafted | None], before: dict[str, Any] | None = None) -> dict[str, Any] | None:
    """What several ranks counted, and what an earlier run wrote down, together; None where nothing was drafted."""
    found = [one for one in counts if one is not None]
    if before is not None:
        found.append(Drafted(len(before["accepted"]), before["calls"], before["tokens"], before["accepted"]))
    if not found:
        return None
    whole = Drafted(found[0].num_drafts)
    for one in found:
        whole.add(one)
    return whole.about()


def no_drafts(model: nn.Module) -> str | None:
    """Why the model cannot draft for itself; None when it can."""
    inner = bare(model)
    if not isinstance(inner, MtpForCausalLM) or not inner.config.num_extra_heads:
        return "the model has no heads beside the first"
    if inner.config.kind != "parallel":
        return "heads that read tokens ahead of their place (kind: sequential) do not draft here"
    layers = inner.new_cache().layers
    if not can_exchange_rows(model) or any(
        type(one) not in (DynamicLayer, DynamicSlidingWindowLayer) for one in layers
    ):
        return "the cache of this kind of model cannot be rolled back"
    rope = getattr(inner.config.family, "rope_parameters", None) or {}
    if rope.get("rope_type") in _LENGTH_DEPENDENT:
        return "the positions of this model change with the length of what it reads, drafts included"
    return None


def few_enough(model: nn.Module, at_once: int) -> bool:
    """Whether so many rows and their drafts are few enough tokens to be read in nearly the time of one."""
    tokens = at_once * (1 + int(bare(model).config.num_extra_heads))
    return tokens <= _CHEAP.get(next(model.parameters()).device.type, _CHEAP_ELSEWHERE)


def cost_of_drafting(model: nn.Module) -> float:
    """What a pass that verifies and drafts reads, against one of head 1 alone: the extra heads, and the output head
    once more."""
    inner = bare(model)
    layers, extra, head = (
        sum(each.numel() for each in part.parameters())
        for part in (inner.model.layers, inner.extra_heads, inner.lm_head)
    )
    return (layers + extra + 2 * head) / (layers + head)


class DraftingBatch(Batch):
    """Rows under way, each with the drafts of its next tokens but one: the next itself is known already."""

    def __init__(self, decoder: Decoder, drafted: Drafted, cost: float = 0.0) -> None:
        """It ends early where a call gives fewer tokens than `cost`."""
        super().__init__(decoder)
        self.cost = cost
        self.drafted, self.num_drafts = drafted, drafted.num_drafts
        self.drafts: list[list[int]] = []
        self.q_bgv: Tensor | None = None  # what the drafts were drawn by, where tokens are drawn
        layers = bare(decoder.model).new_cache().layers
        self.num_layers = len(layers)
        self.has_windows = any(isinstance(layer, DynamicSlidingWindowLayer) for layer in layers)

    def new_cache(self) -> DynamicCache:
        return drafting_cache(self.num_layers)

    @torch.no_grad()
    def step(self) -> None:
        """The drafts of every row that stand, and a token behind them."""
        rows, width = self.rows, self.num_drafts + 1
        ids_bt = torch.tensor([[row.tokens[-1], *drafts] for row, drafts in zip(rows, self.drafts, strict=True)])
        held_bt = torch.cat([self.held_bt, torch.ones(len(rows), width, dtype=torch.bool)], dim=1)
        runs: list[list[int]] = []

        def verified(logits_btv: Tensor) -> Tensor:
            runs.extend(self.decoder.agreed(self._runs(logits_btv.float())))
            return torch.tensor([[len(run) - 1] for run in runs], device=logits_btv.device)

        out = self.forward(ids_bt, held_bt, self.cache, mtp_keep=verified)
        self._roll_back([len(run) for run in runs])
        self.drafts, self.q_bgv = self._drafted(out.mtp_logits, rows, runs)
        for row, run in zip(rows, runs, strict=True):
            if row.under_way:
                self.drafted.count(run, self.decoder.give(row, run))
        self.ended = self.drafted.calls >= _TRIED and self.drafted.tokens < self.cost * self.drafted.calls

    @torch.no_grad()
    def exchange(self, joining: list[Row]) -> None:
        kept = [place for place, row in enumerate(self.rows) if row.under_way]
        self.drafts = [self.drafts[place] for place in kept]
        self.q_bgv = self.q_bgv[kept] if self.q_bgv is not None else None
        super().exchange(joining)

    def read(self, group: list[Row], ids_bt: Tensor, held_bt: Tensor, cache: DynamicCache) -> list[int]:
        last_b1 = torch.full((len(group), 1), ids_bt.shape[1] - 1, device=self.decoder.device)
        out = self.forward(ids_bt, held_bt, cache, mtp_keep=lambda logits_btv: last_b1, logits_to_keep=1)
        chosen = self.decoder.agreed(self.decoder.choice(out.logits[:, -1].float(), group).tolist())
        drafts, q_bgv = self._drafted(out.mtp_logits, group, [[token] for token in chosen])
        self.drafts += drafts
        self.q_bgv = q_bgv if self.q_bgv is None or q_bgv is None else torch.cat([self.q_bgv, q_bgv])
        return chosen

    def _runs(self, logits_btv: Tensor) -> list[list[int]]:
        """What each row goes on with: the drafts that stand and the model's own token behind them."""
        choice, (num_rows, width, _) = self.decoder.choice, logits_btv.shape
        drafts_bg = torch.tensor(self.drafts, device=logits_btv.device)
        runs_of = [[*drafts[:place]] for drafts in self.drafts for place in range(width)]
        seen = [row.tokens + runs_of[i * width + place] for i, row in enumerate(self.rows) for place in range(width)]
        if self.q_bgv is None:
            flat_rows = [row for row in self.rows for _ in range(width)]
            chosen_bt = choice(logits_btv.flatten(0, 1), flat_rows, seen).view(num_rows, width)
            numbers = matching(chosen_bt, drafts_bg).tolist()
            runs = [tokens[: num + 1] for tokens, num in zip(chosen_bt.tolist(), numbers, strict=True)]
        else:
            p_btv = choice.shares(logits_btv.flatten(0, 1), seen).view_as(logits_btv)
            draws_bt = choice.draws(self.rows, width).to(p_btv)
            stood_b = accepted(p_btv, self.q_bgv, drafts_bg, draws_bt[:, :-1])
            own = drawn(behind(p_btv, self.q_bgv, stood_b), draws_bt[:, -1]).tolist()
            runs = [
                [*drafts[:num], token] for drafts, num, token in zip(self.drafts, stood_b.tolist(), own, strict=True)
            ]
        return [run if row.under_way else run[:1] for row, run in zip(self.rows, runs, strict=True)]

    def _drafted(
        self, logits: Sequence[Tensor], rows: list[Row], runs: Sequence[list[int]]
    ) -> tuple[list[list[int]], Tensor | None]:
        """The next drafts of each row behind the tokens it has just been given, and what they were drawn by."""
        choice, logits_bgv = self.decoder.choice, torch.cat(list(logits), dim=1).float()
        num = self.num_drafts
        seen = [row.tokens + run for row, run in zip(rows, runs, strict=True) for _ in range(num)]
        if self.decoder.config.temperature == 0:
            drafts_n = choice(logits_bgv.flatten(0, 1), [row for row in rows for _ in range(num)], seen)
            return self.decoder.agreed(drafts_n.view(-1, num).tolist()), None
        q_bgv = choice.shares(logits_bgv.flatten(0, 1), seen).view_as(logits_bgv)
        drafts_n = drawn(q_bgv.flatten(0, 1), choice.draws(rows, num).to(q_bgv).flatten())
        return self.decoder.agreed(drafts_n.view(-1, num).tolist()), q_bgv

    def _roll_back(self, lengths: list[int]) -> None:
        """Of the columns just read, each row keeps so many. A window counts columns: none in it may be empty."""
        assert self.cache is not None
        most, lengths_b1 = max(lengths), torch.tensor(lengths)[:, None]
        self.cache.crop(most - self.num_drafts - 1)
        self.held_bt = torch.cat([self.held_bt, torch.arange(most) < lengths_b1], dim=1)
        longest, columns = int(self.held_bt.sum(-1).max()), self.held_bt.shape[1]
        if columns > longest * (1 + _EMPTY) or (self.has_windows and min(lengths) < most):
            self.cache, self.held_bt = stacked([(self.cache, list(range(len(lengths))), self.held_bt)])
