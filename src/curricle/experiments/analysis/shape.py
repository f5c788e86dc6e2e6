"""What an analysis says. The text on screen, the page and `analysis.json` are all made from this and nothing else."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..comparison.shape import Interval, Outcome
from .paired import Verdict

Kind = Literal["meta token", "baseline", "other"]


@dataclass(frozen=True)
class FileInfo:
    """A label file."""

    path: str
    name: str
    """What its columns are called by, where there are several files."""
    num_labels: int
    models: dict[str, str]
    """Role -> name, as the file says."""
    settings: dict[str, Any]
    cost: dict[str, float]


@dataclass(frozen=True)
class Spread:
    """How the values of a column lie."""

    num: int
    unknown: int
    """Examples without a value."""
    mean: float
    sd: float
    skew: float
    quantiles: dict[str, float]
    """`0.05` -> value; see `QUANTILES`."""


@dataclass(frozen=True)
class ColumnInfo:
    name: str
    kind: Kind
    spread: Spread
    edges: list[float]
    """Of the histogram's bins, one more than counts."""
    counts: list[int]


@dataclass(frozen=True)
class LayerInfo:
    layer: int
    """From 1, the block nearest to the input."""
    raw: Spread
    standardised: Spread
    """Each layer less its mean, by its spread: what the scores are made of."""
    largest_in: float
    """Share of examples in which this layer, standardised, differs most."""
    rho: Interval | None = None
    """With the target, where there is one."""


@dataclass(frozen=True)
class LayersInfo:
    """The layers of one file."""

    file: str
    layers: list[LayerInfo]
    most: list[int]
    """Those that differ most, by the mean as measured."""


@dataclass(frozen=True)
class Agreement:
    """Spearman's rho of every pair of columns, the target last; None where one is constant."""

    names: list[str]
    rho: list[list[float | None]]


@dataclass(frozen=True)
class SampleInfo:
    """An example to read."""

    id: str
    scores: dict[str, float | None]
    text: list[tuple[str, str]]
    """Who says what; empty where the row was not found."""


@dataclass(frozen=True)
class Extremes:
    by: str
    """The column that they are taken by."""
    hardest: list[SampleInfo]
    easiest: list[SampleInfo]
    note: str
    """Where the text comes from, or why there is none."""


@dataclass(frozen=True)
class Foreseen:
    """How well one column foresees the target, as it stands: a column that falls where the target grows has a negative
    rho, an AUC below 0.5 and an accuracy below 0.5."""

    column: str
    kind: Kind
    num: int
    rho: Interval | None
    partial: Interval | None
    """Given length."""
    auc: Interval | None
    """Of the hard half of the target against the easy one."""
    accuracy: Interval | None
    """Of calling the upper half of the column hard."""
    chance: float | None
    """What the accuracy would be by chance: a half, unless many values of both the column and the target are alike."""
    lines: dict[str, Outcome]
    """The source's lines (`foresee.LINES`), those whose figure is there."""


@dataclass(frozen=True)
class Paired:
    """Two columns on the same examples."""

    column: str
    baseline: str
    num: int
    difference: Interval
    """|rho| of the column less |rho| of the baseline."""
    verdict: Verdict
    why: str


@dataclass(frozen=True)
class Foresight:
    """The columns against real difficulty."""

    target: str
    file: str
    num: int
    """Examples that have both."""
    median: float
    hard: float
    """Share of examples above the median: a half, unless many are alike."""
    length: str | None
    """The column that is held constant in the partial correlation."""
    columns: list[Foreseen]
    """The strongest first."""
    paired: list[Paired]
    deciles: dict[str, list[tuple[float, float]]]
    """Column -> (mean rank in percent, mean target) in each tenth of its order."""


@dataclass(frozen=True)
class Analysis:
    """All that was found; prints itself."""

    name: str
    num: int
    """Examples that all label files have."""
    level: float
    files: list[FileInfo]
    columns: list[ColumnInfo]
    layers: list[LayersInfo]
    agreement: Agreement
    extremes: Extremes
    foresight: Foresight | None
    notes: list[str] = field(default_factory=list)
    """What was left out, and why."""
    alone: str | None = None
    """Real difficulty, where the file has nothing to hold against it."""
    folder: Path | None = None
    """Where the page is, when it was written."""

    @property
    def report(self) -> Path | None:
        return None if self.folder is None else self.folder / "report.html"

    def column(self, name: str) -> ColumnInfo | None:
        return next((column for column in self.columns if column.name == name), None)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        tree = asdict(self)
        del tree["folder"]
        return tree

    def __str__(self) -> str:
        from .render import as_text

        return as_text(self)

    def _repr_markdown_(self) -> str:
        from .render import as_markdown

        return as_markdown(self)
