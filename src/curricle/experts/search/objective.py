"""What a mixture is judged by: the held-out loss of every domain, and one number made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ...data.rows import Rows
from ...data.table import TokenTable
from ...errors import DataError, RecipeError, nearest
from ...runtime.fingerprint import fingerprint
from .config import SearchConfig

ALL = "all"
"""The only domain of rows that name none."""

ROW_DIGITS = 16
"""The part of an id that names the row; what follows is the number of a window or turn."""


@dataclass(frozen=True)
class HeldOut:
    """Validation rows, and how they are read."""

    table: TokenTable
    rows: Rows
    batch_size: int = 1

    @property
    def domains(self) -> list[str]:
        return self.table.domain_names or [ALL]

    @property
    def tokens(self) -> dict[str, int]:
        """Supervised tokens of each domain."""
        counts = np.bincount(self.table.domains, self.table.num_supervised, minlength=len(self.domains))
        return {name: int(count) for name, count in zip(self.domains, counts, strict=True)}

    def losses(self, model: Any, tap: Any) -> dict[str, float]:
        """Mean -log p of the supervised tokens of each domain."""
        from ...models.likelihood import mean_by_domain, token_losses_of

        values = token_losses_of(model, self.table, self.rows, batch_size=self.batch_size, tap=tap)
        named = self.table if self.table.domain_names else replace(self.table, domain_names=[ALL])
        return mean_by_domain(values.sums(), values.counts, named)

    def first(self, num: int) -> HeldOut:
        """The first so many rows of each domain."""
        seen, domains = dict.fromkeys(range(len(self.domains)), 0), self.table.domains
        taken: npt.NDArray[np.bool_] = np.zeros(len(self.table), dtype=np.bool_)
        for i, domain in enumerate(map(int, domains)):
            learns = bool(self.table.num_supervised[i])
            taken[i] = learns and seen[domain] < num
            seen[domain] += taken[i]
        return replace(self, table=self.table.select(taken))

    def fingerprint(self) -> str:
        """Of all that decides a loss: tokens, masks, domains, and how rows are filled."""
        import hashlib

        table = self.table
        columns = [table.tokens, table.supervised, table.offsets, table.domains]
        digests = [hashlib.sha256(np.ascontiguousarray(column).tobytes()).hexdigest() for column in columns]
        rows = (self.rows.max_length, self.rows.packing, self.rows.lookahead, self.rows.pad_id)
        return fingerprint(digests, self.domains, rows, self.batch_size)


def score_of(losses: Mapping[str, float], base: Mapping[str, float], config: SearchConfig) -> float:
    """The number that is made small."""
    if config.objective == "worst":
        return max(losses[name] / max(base[name], 1e-9) for name in losses)
    if config.objective == "shares":
        total = sum(config.shares.values())
        return sum(share * losses[name] for name, share in config.shares.items() if share) / total
    return sum(losses.values()) / len(losses)


def check_rows(held: HeldOut, experts: list[str], config: SearchConfig, test: TokenTable | None) -> None:
    """Refuse rows that cannot judge these experts, and such as are kept for the test."""
    empty = [name for name, tokens in held.tokens.items() if not tokens]
    if empty:
        raise DataError(f"the domain `{empty[0]}` has no validation row with a token to predict; give it some rows")
    for name in config.shares:
        if name not in held.domains:
            raise RecipeError(f"shares name the domain `{name}`, which has no row; {nearest(name, held.domains)}")
    unjudged = [name for name in experts if name not in held.domains]
    if unjudged and len(unjudged) < len(experts):
        raise DataError(
            f"the expert `{unjudged[0]}` has no validation rows of its own: the domains are {', '.join(held.domains)}; "
            "give it some rows, or leave it out"
        )
    if test is not None:
        refuse_test_rows(held.table, test)


def refuse_test_rows(validation: TokenTable, test: TokenTable) -> None:
    """Weights that were chosen on test rows would make the test say too much."""
    kept, own = ({name[:ROW_DIGITS] for name in table.ids[:]} for table in (test, validation))
    if shared := sorted(kept & own):
        raise DataError(
            f"{len(shared)} of {len(own)} validation rows are test rows too (first: id {shared[0]}); weights are "
            "chosen on rows that no test sees: take them out of one of the two"
        )
