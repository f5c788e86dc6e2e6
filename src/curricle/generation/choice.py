"""Which token comes next: the likeliest, or one drawn.

Every answer draws from a stream of its own, named by the seed and the row, one number a token: so an answer does not
depend on what else is in its batch. No global random number is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..runtime.seeds import numpy_generator
from .config import GenerationConfig


@dataclass
class Row:
    """A prompt and the answer it has so far."""

    index: int
    tokens: list[int]
    """The prompt, and after it the answer as it grows."""
    limit: int
    """The most tokens of the answer."""
    name: str = ""
    """Names its stream of random numbers."""
    ends: Callable[[Row], bool] | None = None
    """Whether the answer, which has a new token, is to end there; asked after every token."""
    finished: bool = False
    """Ended by an end token or by `ends`, not by its limit."""
    num_prompt: int = field(init=False)
    draws: np.random.Generator | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.num_prompt = len(self.tokens)

    @property
    def answer(self) -> list[int]:
        return self.tokens[self.num_prompt :]

    @property
    def under_way(self) -> bool:
        return not self.finished and len(self.tokens) - self.num_prompt < self.limit


class Choice:
    """Takes the next token of each row from its scores."""

    def __init__(self, config: GenerationConfig, seed: int = 0) -> None:
        self.config, self.seed = config, seed

    @property
    def is_plain(self) -> bool:
        """Whether it is the likeliest token and nothing else."""
        return self.config.temperature == 0 and self.config.repetition_penalty == 1

    def __call__(self, logits_bv: Tensor, rows: Sequence[Row], seen: Sequence[Sequence[int]] | None = None) -> Tensor:
        """`seen` are the tokens of each row so far, its prompt included, where `rows` do not hold them."""
        if self.config.repetition_penalty != 1:
            logits_bv = self._penalized(logits_bv.clone(), seen or [row.tokens for row in rows])
        if self.config.temperature == 0:
            return logits_bv.argmax(-1)
        return self._drawn(logits_bv.float() / self.config.temperature, rows)

    def _penalized(self, logits_bv: Tensor, seen: Sequence[Sequence[int]]) -> Tensor:
        for row, tokens in enumerate(seen):
            ids = torch.tensor(sorted(set(tokens)), device=logits_bv.device)
            scores, penalty = logits_bv[row, ids], self.config.repetition_penalty
            logits_bv[row, ids] = torch.where(scores < 0, scores * penalty, scores / penalty)
        return logits_bv

    def shares(self, logits_bv: Tensor, seen: Sequence[Sequence[int]]) -> Tensor:
        """What tokens are drawn by: shares that add up to 1 after penalty, temperature, top_k and top_p."""
        if self.config.repetition_penalty != 1:
            logits_bv = self._penalized(logits_bv.clone(), seen)
        shares_bv, order_bv, kept_bv = self._likeliest(logits_bv.float() / self.config.temperature)
        shares_bv = shares_bv.masked_fill(~kept_bv, 0.0)
        return torch.zeros_like(shares_bv).scatter_(-1, order_bv, shares_bv / shares_bv.sum(-1, keepdim=True))

    def _likeliest(self, logits_bv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Shares from the likeliest token on, the tokens they are of, and which of them may be drawn."""
        shares_bv, order_bv = logits_bv.softmax(-1).sort(dim=-1, descending=True, stable=True)
        kept_bv = shares_bv.cumsum(-1) - shares_bv < self.config.top_p
        if self.config.top_k is not None:
            kept_bv[:, self.config.top_k :] = False
        return shares_bv, order_bv, kept_bv

    def _drawn(self, logits_bv: Tensor, rows: Sequence[Row]) -> Tensor:
        """The likeliest tokens side by side, each as wide as its probability; a random place says which it is."""
        shares_bv, order_bv, kept_bv = self._likeliest(logits_bv)
        ends_bv = shares_bv.masked_fill(~kept_bv, 0.0).cumsum(-1)
        draws_b1 = self.draws(rows, 1).to(ends_bv)
        place_b1 = torch.searchsorted(ends_bv, draws_b1 * ends_bv[:, -1:], right=True)
        last_b1 = kept_bv.sum(-1, keepdim=True) - 1
        return order_bv.gather(-1, torch.minimum(place_b1, last_b1)).squeeze(-1)

    def draws(self, rows: Sequence[Row], num: int) -> Tensor:
        """So many random numbers of each row's own stream, in [0, 1)."""
        for row in rows:
            if row.draws is None:
                row.draws = numpy_generator(self.seed, "answer", row.name)
        return torch.tensor(np.array([row.draws.random(num) for row in rows if row.draws is not None]))
