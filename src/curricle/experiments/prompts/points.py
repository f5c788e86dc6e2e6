"""What the points of a form come to: means, how many prompts a model improved on, and whether that could be chance.

A prompt is improved when the model's points, all criteria together, are more than the base's; it counts only where all
of both models' cells are filled. The sign test asks how likely so uneven a split of improved and worsened prompts is
where neither model is better; equal ones say nothing and are left out. It is exact and two-sided: 6 to 4 has p = 0.75,
9 to 1 has p = 0.02.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import comb
from pathlib import Path
from typing import Any

from ..results import render
from .form import CRITERIA, HIGHEST, Form, Points, key_path, parse, read_key, unblinded


@dataclass(frozen=True)
class ModelPoints:
    """One model over all prompts."""

    model: str
    means: dict[str, float | None]
    """Criterion -> mean over the filled cells; None where none is."""
    filled: dict[str, int]
    mean_sum: float | None
    """Of all criteria together, over the prompts where all are filled."""
    complete: int
    """Such prompts."""
    improved: int | None = None
    """Prompts with more points than the base; None for the base itself."""
    worsened: int | None = None
    equal: int | None = None
    p: float | None = None
    """Of the sign test; None for the base, and where no prompt differs."""


@dataclass(frozen=True)
class PromptPoints:
    """A form read back; prints itself as a table."""

    path: str
    filled_by: str
    judge: str
    """The model that gave the points; empty where a person did."""
    base: str
    num_prompts: int
    num_cells: int
    open_cells: int
    models: list[ModelPoints]
    points: list[dict[str, Points]]
    """Of each prompt, by model."""

    def of(self, model: str) -> ModelPoints:
        return next(one for one in self.models if one.model == model)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def table(self) -> list[dict[str, Any]]:
        return [
            {"model": one.model}
            | {name: _shown(one.means[name]) for name in CRITERIA}
            | {"sum": _shown(one.mean_sum), "prompts": one.complete}
            | {"improved": _split(one), "p": "-" if one.p is None else f"{one.p:.3g}"}
            for one in self.models
        ]

    def __str__(self) -> str:
        who = f"points of the judge model {self.judge}, and of no person" if self.judge else "points of a person"
        if not self.judge and self.filled_by:
            who = f"points of {self.filled_by}"
        if self.open_cells == self.num_cells:
            who = "nothing is filled in yet"
        lines = [
            render(self.table()),
            "",
            f"{self.num_prompts} prompts, {who}; open cells: {self.open_cells:,} of {self.num_cells:,}",
            f"points go to {HIGHEST}; improved: prompts with more points than {self.base}, against those with fewer "
            "(p of a two-sided sign test)",
        ]
        return "\n".join(lines)


def read_form(path: str | Path, key: str | Path | None = None) -> PromptPoints:
    """Read a form that somebody filled. A blind one needs its `key`, by default the file beside it.

    >>> print(read_form("comparison/eval_prompt_comparison.md"))   # doctest: +SKIP
    """
    form = parse(path)
    if form.base is None:
        form = unblinded(form, read_key(Path(key) if key is not None else key_path(path), form))
    return points_of(form, str(path))


def points_of(form: Form, path: str) -> PromptPoints:
    """The same of a form in memory, not blind."""
    assert form.base is not None
    points = [entry.points for entry in form.entries]
    base = [_sum(one[form.base]) for one in points]
    models = []
    for name in form.models:
        sums = [_sum(one[name]) for one in points]
        models.append(_model(name, [one[name] for one in points], sums, None if name == form.base else base))
    return PromptPoints(
        path, form.filled_by, form.judge, form.base, len(form.entries), form.num_cells, form.open_cells, models, points
    )


def sign_test(improved: int, worsened: int) -> float | None:
    """The two-sided p of so uneven a split by chance.

    >>> sign_test(9, 1)
    0.021484375
    """
    num = improved + worsened
    if not num:
        return None
    tail = sum(comb(num, k) for k in range(min(improved, worsened) + 1))
    return min(1.0, 2.0 * tail / 2.0**num)


def _model(
    name: str, points: Sequence[Points], sums: Sequence[int | None], base: Sequence[int | None] | None
) -> ModelPoints:
    cells = {criterion: [value for one in points if (value := one[criterion]) is not None] for criterion in CRITERIA}
    whole = [each for each in sums if each is not None]
    found = ModelPoints(
        name,
        {criterion: _mean(values) for criterion, values in cells.items()},
        {criterion: len(values) for criterion, values in cells.items()},
        _mean(whole),
        len(whole),
    )
    if base is None:
        return found
    steps = [own - other for own, other in zip(sums, base, strict=True) if own is not None and other is not None]
    improved, worsened = sum(step > 0 for step in steps), sum(step < 0 for step in steps)
    compared = {"improved": improved, "worsened": worsened, "equal": len(steps) - improved - worsened}
    return ModelPoints(**{**vars(found), **compared, "p": sign_test(improved, worsened)})


def _sum(points: Points) -> int | None:
    """None where a cell is open."""
    values = [value for value in points.values() if value is not None]
    return sum(values) if len(values) == len(CRITERIA) else None


def _mean(values: Sequence[int]) -> float | None:
    return sum(values) / len(values) if values else None


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _split(one: ModelPoints) -> str:
    if one.improved is None:
        return "the base"
    return f"{one.improved} to {one.worsened}, {one.equal} equal"
