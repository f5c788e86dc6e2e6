"""What a search found: the weights, and the losses that led to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .config import SearchConfig
from .evaluations import Evaluation
from .methods import TOLERANCE
from .pareto import costs, front


def weights_in_words(weights: Mapping[str, float]) -> str:
    return " ".join(f"{name}={weight:.4g}" for name, weight in weights.items())


def at_bounds(weights: Mapping[str, float], config: SearchConfig) -> dict[str, list[str]]:
    """Which weights lie at the `lower` and which at the `upper` bound, nearer than a search tells points apart. With
    sum1 there is nothing to widen, and none does."""
    low, high = config.box
    near = TOLERANCE * (high - low) if config.normalize == "none" else -1.0
    return {
        "lower": [name for name, weight in weights.items() if abs(weight - low) <= near],
        "upper": [name for name, weight in weights.items() if abs(weight - high) <= near],
    }


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

    @property
    def at_bound(self) -> list[str]:
        """The experts whose best weight lies at a bound, so that a better one may lie beyond it."""
        sides = at_bounds(self.weights, self.config)
        return [name for name in self.weights if name in sides["lower"] or name in sides["upper"]]

    @property
    def bounds_in_words(self) -> str:
        """`a and b are at the upper bound 1.5; wider `bounds` may be better`; empty where no weight is at one."""
        sides = at_bounds(self.weights, self.config)
        said = [
            f"{_listed(sides[side])} {'is' if len(sides[side]) == 1 else 'are'} at the {side} bound {bound:g}"
            for side, bound in zip(("lower", "upper"), self.config.box, strict=True)
            if sides[side]
        ]
        return f"{', '.join(said)}; wider `bounds` may be better" if said else ""

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
        lines = [
            *table,
            f"weights: {weights_in_words(self.weights)} ({how})",
            *filter(None, [self.bounds_in_words]),
            *self.conflicts,
        ]
        return "\n".join([*lines, *([str(self.folder)] if self.folder else [])])


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
