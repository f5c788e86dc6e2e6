"""What rows bring, joined to the flat table of a micro batch: rewards, their own weights, losses of a reference model.

    examples of the micro batch      4        1
    their learned tokens             a b      c d e       by `supervised` of the training table
    example_n                        4 4      1 1 1
    reward_n                         1 1      0 0 0       one of an example, for each of its tokens
    given_n, reference_n             of each token, from columns aligned with the table's tokens

Nothing here waits for a device: which tokens a micro batch has is known from the table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..data.collation import gather
from ..data.table import TokenTable
from ..errors import RecipeError
from ..losses.flat import FlatTokens, Metrics, Weigh
from ..weighting.base import NEEDED, Weighting
from ..weighting.measures import by_correctness

OF_VALUES = frozenset({"before_n", "after_n"})
"""What a critic brings, not a row."""


class RowColumns:
    """The columns of one training table, and the losses that a reference model has on its tokens."""

    def __init__(self, table: TokenTable, reference_t: npt.NDArray[np.float32] | None = None) -> None:
        self.table, self.reference_t = table, reference_t
        if reference_t is not None and len(reference_t) != len(table.tokens):
            raise RecipeError(
                f"{len(reference_t)} reference losses for a table of {len(table.tokens)} tokens; they were made for "
                "other rows"
            )

    @property
    def brought(self) -> frozenset[str]:
        """Columns of the flat table that these rows can fill."""
        sources = {
            "reward_n": self.table.rewards,
            "given_n": self.table.token_weights,
            "reference_n": self.reference_t,
            "example_n": self.table.offsets,
        }
        return frozenset(name for name, source in sources.items() if source is not None)

    def join(self, tokens: FlatTokens, examples: Sequence[int]) -> FlatTokens:
        """The flat table of a micro batch of these examples, with everything that their rows bring."""
        table, device = self.table, tokens.target_n.device
        examples_d = np.asarray(examples, dtype=np.int64)
        num_d = table.num_supervised[examples_d]
        if int(num_d.sum()) != len(tokens):  # an idle batch, or examples that are not this batch's
            raise ValueError(f"{int(num_d.sum())} learned tokens in the table, {len(tokens)} in the batch")
        learned_t = gather(table.supervised, table.offsets, examples_d) if len(examples_d) else np.empty(0, bool)

        def each(of_example: npt.NDArray[Any] | None) -> Tensor | None:
            return None if of_example is None else _to(np.repeat(of_example[examples_d], num_d), device)

        def own(of_token: npt.NDArray[Any] | None) -> Tensor | None:
            if of_token is None or not len(examples_d):
                return None if of_token is None else _to(np.empty(0, np.float32), device)
            return _to(gather(of_token, table.offsets, examples_d)[learned_t], device)

        return replace(
            tokens,
            example_n=_to(np.repeat(examples_d, num_d), device),
            truncated_n=each(table.truncated),
            reward_n=each(table.rewards),
            given_n=own(table.token_weights),
            reference_n=own(self.reference_t),
        )

    def seen_by(self, weighting: Weighting, examples: Sequence[int]) -> Weigh:
        """The weighting, with the table joined for it where that changes anything."""
        if not weighting.needs and self.table.rewards is None:
            return weighting
        return Joined(weighting, partial(self.join, examples=examples))

    def check(self, weighting: Weighting, others: frozenset[str] = frozenset()) -> None:
        """Refuse a weighting that these rows, and what `others` fill, leave without what it needs."""
        for name in sorted(weighting.needs - self.brought - others):
            raise RecipeError(f"weighting {weighting.name} needs {NEEDED[name]}")
        if "reward_n" in weighting.needs:
            refuse_one_sided(self.table.rewards, f"weighting {weighting.name}")
        if "given_n" in weighting.needs:
            self._refuse_all_zero(weighting.name)

    def _refuse_all_zero(self, who: str) -> None:
        """Every loss would be 0, and nothing would be learned."""
        weights = self.table.token_weights
        if weights is not None and len(weights) and not weights.any():
            raise RecipeError(
                f"weighting {who} needs weights, and those of all {len(self.table):,} rows are 0, by which nothing is "
                "learned; look at the column that data.weight_field names"
            )


def refuse_one_sided(rewards: npt.NDArray[np.float32] | None, who: str) -> None:
    """Whoever tells correct from incorrect rows needs some of both."""
    known = np.empty(0) if rewards is None else rewards[~np.isnan(rewards)]
    values = np.unique(known)
    if len(values) < 2:
        found = f"all {len(known):,} rewards are {values[0]:g}" if len(values) else "no row has a reward"
        raise RecipeError(
            f"{who} needs rows with reward 1 and rows with reward 0, and {found}; look at the column that "
            "data.reward_field names, or train on both kinds of rows"
        )


class Joined:
    """A weighting that sees the joined table, and says what it did to correct and to incorrect rows."""

    def __init__(self, weighting: Weighting, join: Callable[[FlatTokens], FlatTokens]) -> None:
        self.weighting, self.join = weighting, join
        self.known_beforehand = weighting.known_beforehand

    def __call__(self, tokens: FlatTokens) -> tuple[Tensor | None, Metrics]:
        tokens = self.join(tokens)
        weights, metrics = self.weighting(tokens)
        return weights, metrics | by_correctness(weights, tokens)


def _to(values: npt.NDArray[Any], device: torch.device) -> Tensor:
    made = torch.from_numpy(np.ascontiguousarray(values))
    return made.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else made.to(device)
