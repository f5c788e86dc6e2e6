"""What a run leaves behind, and how it prints itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .comparison.shape import Comparison


@dataclass(frozen=True)
class RunResult:
    """One arm with one seed: its folder, and the content of its results.json."""

    arm: str
    seed: int
    folder: Path
    results: dict[str, Any]


@dataclass(frozen=True)
class Result:
    """All runs of an experiment; prints itself as a table."""

    name: str
    folder: Path
    runs: list[RunResult] = field(default_factory=list)
    comparison: Comparison | None = None
    """Of all finished runs of the recipe; None when nothing was measured."""

    def table(self) -> list[dict[str, Any]]:
        """A row a run."""
        names = ("steps", "tokens", "repeats", "train_loss")
        figures = dict.fromkeys(name for run in self.runs for name in run.results.get("metrics", {}))
        return [
            {"arm": run.arm, "seed": run.seed}
            | {name: run.results.get(name) for name in names}
            | {name: run.results.get("metrics", {}).get(name) for name in figures}
            | {"seconds": run.results.get("seconds")}
            for run in self.runs
        ]

    @property
    def report(self) -> Path:
        """The page that shows all of it."""
        return self.folder / "report.html"

    def __str__(self) -> str:
        if self.comparison is None:
            return f"{render(self.table())}\n\nin {self.folder}"
        return f"{self.comparison}\n\nreport: {self.report}"

    def _repr_markdown_(self) -> str:
        if self.comparison is not None:
            return f"{self.comparison._repr_markdown_()}\n\nreport: {self.report}"
        rows = self.table()
        head = list(rows[0]) if rows else []
        lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        return "\n".join([*lines, *("| " + " | ".join(_cell(row[name]) for name in head) + " |" for row in rows)])


def render(rows: list[dict[str, Any]]) -> str:
    """Rows as aligned columns of text; numbers to the right."""
    if not rows:
        return "(nothing)"
    head = list(rows[0])
    cells = [head, *([_cell(row[name]) for name in head] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
    right = [isinstance(rows[0][name], int | float) for name in head]
    shown = (
        "  ".join(
            cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in cells
    )
    return "\n".join(shown)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
