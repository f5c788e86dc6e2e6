"""What a search found: the weights, and the losses that led to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .config import SearchConfig
from .evaluations import Evaluation
from .pareto import costs, front


def weights_in_words(weights: Mapping[str, float]) -> str:
    return " ".join(f"{name}={weight:.4g}" for name, weight in weights.items())


@dataclass(frozen=True)
class Found:
    """The best weights of a search. It prints itself as a table of losses by domain."""

    config: SearchConfig
    best: Evaluation
    references: dict[str, Evaluation]
    """The starting points by name: `base`, `uniform`, each expert alone, ..."""
    tried: list[Evaluation] = field(repr=False)
    """All of the search, in the order they were asked for; with `first_rows`, on those."""
    passes: float
    """What the search cost, in readings of all rows."""
    made: int
    """Evaluations that were made now, and not found in the log."""
    ended: str
    folder: Path | None = None

    @property
    def weights(self) -> dict[str, float]:
        return self.best.weights

    @property
    def evaluations(self) -> int:
        """How much of the budget was used."""
        return len(self.tried)

    @property
    def front(self) -> list[Evaluation]:
        """The evaluations that no other one beats in every domain."""
        return front(self.tried)

    @property
    def conflicts(self) -> list[str]:
        """What a gain of one domain costs the others, in words; empty where one mixture is best for all."""
        known = next((one for one in self.tried if one.weights == self.best.weights), self.best)
        return costs(known, self.front)

    def __str__(self) -> str:
        domains = list(self.best.losses)
        rows = [("", *domains, self.config.objective)]
        for name, one in {**self.references, "best": self.best}.items():
            rows.append((name, *(f"{one.losses[domain]:.4f}" for domain in domains), f"{one.score:.4f}"))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        table = [
            "  ".join(
                cell.ljust(width) if not i else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        how = f"{self.config.method}, normalize {self.config.normalize}, {self.evaluations} evaluations: {self.ended}"
        lines = [*table, f"weights: {weights_in_words(self.weights)} ({how})", *self.conflicts]
        return "\n".join([*lines, *([str(self.folder)] if self.folder else [])])
