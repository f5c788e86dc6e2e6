"""What a comparison says: arms, figures with intervals, compute, progress, checks. The table on screen, the report and
`comparison.json` are all made from this and from nothing else; to JSON by `as_dict`, back by `from_dict`."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

Verdict = Literal["better", "worse", "no difference shown", "not decidable"]
Outcome = Literal["met", "not met", "not decidable"]


@dataclass(frozen=True)
class Interval:
    """A mean and where it may lie. `low` and `high` are None where nothing can be said."""

    mean: float
    low: float | None = None
    high: float | None = None
    method: str = "none"
    """t over seeds and examples | t over seeds | bootstrap over examples | bootstrap over seeds and examples |
    binomial over examples, all alike | of those that got there | none. What each covers is in docs/comparison.md;
    `bootstrap over examples` is about the very models of one seed, and says nothing about another seed."""


@dataclass(frozen=True)
class Difference:
    """An arm less the base arm, paired by seed and by example."""

    interval: Interval
    """Of `level`, below: it leaves 0 out exactly where the corrected p says so."""
    p: float | None
    p_corrected: float | None
    """Holm's, over the arms that are compared in this figure."""
    verdict: Verdict
    why: str
    """One sentence, for a person."""
    level: float = 0.95
    """Of its interval: with a correction for several arms it is more than the comparison's own."""
    seeds: list[int] = field(default_factory=list)
    """The seeds that both arms have."""
    num_examples: int | None = None
    """The examples that both arms were measured on, where the figure has a value an example."""


@dataclass(frozen=True)
class Cell:
    """One figure of one arm."""

    arm: str
    metric: str
    per_seed: dict[int, float]
    interval: Interval
    difference: Difference | None
    """None for the base arm itself."""


@dataclass(frozen=True)
class DomainLoss:
    """The held-out loss of every arm on the rows of one domain."""

    domain: str
    cells: list[Cell]


@dataclass(frozen=True)
class MetricInfo:
    name: str
    higher_is_better: bool
    note: str = ""


@dataclass(frozen=True)
class ArmInfo:
    name: str
    changes: dict[str, tuple[Any, Any]]
    """Dotted key -> (the base arm's value, this arm's), for every key in which they differ."""
    seeds: list[int]
    trained: bool = True
    """False for a model that was measured as it came."""


@dataclass(frozen=True)
class Compute:
    """What an arm cost, as the mean over its seeds."""

    arm: str
    steps: float
    tokens: float
    supervised_tokens: float
    epochs: float
    repeats: float
    train_flops: float | None
    """By formula (docs/comparison.md); None when a run did not say how large its model is."""
    label_flops: float
    """What labels, scores, searches and the arm that it starts from cost."""
    seconds: float
    tokens_per_second: float
    peak_memory_bytes: float


@dataclass(frozen=True)
class ArmProgress:
    curves: dict[int, list[tuple[int, float]]]
    """Seed -> (tokens trained, held-out loss) at each evaluation."""
    at_marks: list[Interval | None]
    """The loss at each mark, between evaluations by straight line; None where no run of the arm got there."""
    tokens_to_base: Interval | None
    """Tokens until the base arm's final held-out loss, over the runs that reached it; None when none did."""
    seconds_to_base: Interval | None
    reached: str
    """Such as `2 of 3`: runs that reached the base arm's final loss. `not decidable: ...` where theirs is another."""
    saved: Interval | None = None
    """Percent of the tokens that the base arm's run of the same seed took to get there; below 0 it took more. None of
    the base arm itself."""


@dataclass(frozen=True)
class Progress:
    marks: list[int]
    arms: dict[str, ArmProgress]


@dataclass(frozen=True)
class CheckOutcome:
    """A line of the recipe's `checks:`, judged."""

    arm: str
    check: str
    outcome: Outcome
    measured: str
    """What was found, with its interval, as text."""
    why: str
    otherwise: str = ""
    """What the recipe says to do when it is not met."""


@dataclass(frozen=True)
class Comparison:
    name: str
    base: str
    """The arm that the others are compared with."""
    level: float
    """Of the intervals, such as 0.95."""
    arms: list[ArmInfo]
    metrics: list[MetricInfo]
    cells: list[Cell]
    compute: list[Compute]
    progress: Progress
    checks: list[CheckOutcome]
    open_questions: list[str]
    """What could not be concluded, and why; what to do about it."""
    warnings: list[str]
    """What makes the comparison less than fair: other data, other versions, unequal compute."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """Recipe hash, versions, git revision, data hashes, when."""
    runs: list[dict[str, Any]] = field(default_factory=list)
    """Arm, seed, folder (relative to the experiment's) and results of every run."""
    domains: list[DomainLoss] = field(default_factory=list)
    """Where the held-out rows are of two domains or more."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON; seeds become text there, as JSON has it."""
        tree: dict[str, Any] = _plain(asdict(self))
        return tree

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> Comparison:
        """What `as_dict` gave, after its way through JSON."""
        comparison: Comparison = _read(cls, tree)
        return comparison

    def cell(self, arm: str, metric: str) -> Cell | None:
        return next((cell for cell in self.cells if (cell.arm, cell.metric) == (arm, metric)), None)

    def __str__(self) -> str:
        from .render import as_text

        return as_text(self)

    def _repr_markdown_(self) -> str:
        from .render import as_markdown

        return as_markdown(self)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _read(kind: Any, value: Any) -> Any:
    """A value as its type says: the dataclasses of this file, and lists, tuples and mappings of them."""
    origin, inside = get_origin(kind), get_args(kind)
    if value is None:
        return float("nan") if kind is float else None  # JSON has no NaN
    if isinstance(kind, type) and is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(
            **{part.name: _read(hints[part.name], value[part.name]) for part in fields(kind) if part.name in value}
        )
    if origin in (Union, types.UnionType):
        return _read(next(part for part in inside if part is not type(None)), value)
    if origin is list:
        return [_read(inside[0], inner) for inner in value]
    if origin is tuple:
        return tuple(_read(part, inner) for part, inner in zip(inside, value, strict=True))
    if origin is dict:
        return {inside[0](key): _read(inside[1], inner) for key, inner in value.items()}
    return float(value) if kind is float else value
