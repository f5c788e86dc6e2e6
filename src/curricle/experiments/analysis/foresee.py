"""The scores against real difficulty: how well each foresees it, and whether the new ones beat the simple ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..comparison.shape import Interval
from .describe import kind_of
from .paired import stronger
from .read import Floats, Table, Target
from .shape import Foreseen, Foresight, Paired
from .statistics import Correlation, Ranks, above_median, auc, judge, partial, share, spearman

LINES = {"r > 0.5": ("rho", 0.5), "r > 0.5 given length": ("partial", 0.5), "accuracy > 70%": ("accuracy", 0.7)}
"""The source asks for r > 0.5 and for accuracy above 70%, and names no target; what both are of is settled here."""
EVEN = 0.05
"""How far from a half what chance gets right may be, before a line that takes it for a half says nothing."""
HEADLINE = "mean"
"""Of the meta token scores the one named in advance."""


def is_headline(column: str) -> bool:
    return column.rpartition(".")[2] == HEADLINE


def foresee(table: Table, target: Target) -> Foresight:
    known_n = np.isfinite(target.values_n)
    median = float(np.median(target.values_n[known_n]))
    hard_n = target.values_n > median
    length = next((name for name in table.columns if name.rpartition(".")[2] == "length"), None)
    columns = [_foreseen(name, values, target, hard_n, length, table) for name, values in table.columns.items()]
    columns.sort(key=lambda column: -abs(column.rho.mean) if column.rho else 1.0)
    return Foresight(
        target.name,
        target.file,
        int(known_n.sum()),
        median,
        float(hard_n[known_n].mean()),
        length,
        columns,
        _paired(columns, table, target),
        {column.column: _deciles(table.columns[column.column], target) for column in columns if column.rho},
    )


def _foreseen(
    name: str,
    values_n: Floats,
    target: Target,
    hard_n: npt.NDArray[np.bool_],
    length: str | None,
    table: Table,
) -> Foreseen:
    known_n = np.isfinite(values_n) & np.isfinite(target.values_n)
    values, hard = values_n[known_n], hard_n[known_n]
    found: dict[str, Interval | None] = dict.fromkeys(("rho", "partial", "auc", "accuracy"))
    chance = None
    if len(values) > 2:
        rho = spearman(Ranks(values), Ranks(target.values_n[known_n]))
        given = None if length in (None, name) else _given(values_n, target.values_n, table.columns[length])
        found["rho"], found["partial"] = (None if each is None else each.interval() for each in (rho, given))
        if rho is not None:
            upper = above_median(values)
            found["auc"], found["accuracy"] = auc(values, hard), share(upper == hard)
            chance = by_chance(float(upper.mean()), float(hard.mean()))
    lines = {line: judge(one, at) for line, (figure, at) in LINES.items() if (one := found[figure]) is not None}
    if uneven(chance):
        lines["accuracy > 70%"] = "not decidable"
    return Foreseen(name, kind_of(name), len(values), **found, lines=lines, chance=chance)


def by_chance(upper: float, hard: float) -> float:
    """What share is right where the upper part of a score and the harder part of the target know nothing of each other.

    >>> by_chance(0.5, 0.2), round(by_chance(0.2, 0.2), 2)
    (0.5, 0.68)
    """
    return upper * hard + (1 - upper) * (1 - hard)


def uneven(chance: float | None) -> bool:
    return chance is not None and abs(chance - 0.5) > EVEN


def _given(values_n: Floats, target_n: Floats, length_n: Floats) -> Correlation | None:
    """Length held constant, in ranks; its logarithm would be the same."""
    known_n = np.isfinite(values_n) & np.isfinite(target_n) & np.isfinite(length_n)
    x, y, z = (Ranks(each[known_n]) for each in (values_n, target_n, length_n))
    xy, xz, yz = spearman(x, y), spearman(x, z), spearman(y, z)
    return None if xy is None or xz is None or yz is None else partial(xy, xz, yz)


def _paired(columns: list[Foreseen], table: Table, target: Target) -> list[Paired]:
    """The strongest meta token score, and the one named in advance, each with the strongest simple baseline."""
    measured = [column for column in columns if column.rho is not None]  # the strongest first
    scores = [column.column for column in measured if column.kind == "meta token"]
    baselines = [column.column for column in measured if column.kind == "baseline"]
    asked = dict.fromkeys([*scores[:1], *(name for name in scores if is_headline(name))])
    return [_pair(name, baselines[0], table, target) for name in asked] if baselines else []


def _pair(name: str, baseline: str, table: Table, target: Target) -> Paired:
    both = [table.columns[name], table.columns[baseline], target.values_n]
    known_n = np.isfinite(both).all(0)
    score, other, aim = (Ranks(each[known_n]) for each in both)
    difference, verdict = stronger(score, other, aim)
    said = {
        "better": f"{name} is more closely tied to {target.name} than {baseline} is",
        "worse": f"{baseline} is more closely tied to {target.name} than {name} is",
        "no difference shown": f"neither of {name} and {baseline} is shown to be more closely tied to {target.name}",
    }
    return Paired(name, baseline, int(known_n.sum()), difference, verdict, said[verdict])


def _deciles(values_n: Floats, target: Target, num: int = 10) -> list[tuple[float, float]]:
    """Mean target in each tenth of the column's order; equal values stay in the order of the data."""
    known_n = np.isfinite(values_n) & np.isfinite(target.values_n)
    order = np.argsort(values_n[known_n], kind="stable")
    ranks, aim = (np.arange(len(order)) + 0.5) / len(order) * 100, target.values_n[known_n][order]
    parts = zip(np.array_split(ranks, num), np.array_split(aim, num), strict=True)
    return [(float(at.mean()), float(value.mean())) for at, value in parts if len(at)]
