"""What comes of measuring answers or a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..evaluation.measure import Measured
from .environment import versions
from .results import render


@dataclass(frozen=True)
class Evaluation:
    """The figures of one set of answers or one model; prints itself as a table."""

    what: str
    """What was measured: the file of answers, the run or the model."""
    measured: Measured
    files: list[dict[str, str]] = field(default_factory=list)
    """The files it depends on, by path and hash."""
    notes: list[str] = field(default_factory=list)
    """How answers and references were matched, and what was left out."""

    @property
    def metrics(self) -> dict[str, float]:
        return self.measured.metrics()

    def table(self) -> list[dict[str, Any]]:
        """A row a figure."""
        return [
            {"figure": name, "value": f"{score.value:.4f}", "note": score.note}
            for name, score in self.measured.scores.items()
        ]

    def as_dict(self) -> dict[str, Any]:
        """Everything, an example's values too; what `-o` writes."""
        return {
            "what": self.what,
            "metrics": self.metrics,
            "metric_info": self.measured.info(),
            "per_example": self.measured.per_example(),
            "files": self.files,
            "notes": self.notes,
            "versions": versions(),
        }

    def __str__(self) -> str:
        return f"{render(self.table())}\n\n{len(self.measured.ids):,} examples of {self.what}"
