"""What the labels say by themselves: spreads, layers, agreement, and which examples stand at the ends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ...difficulty.config import BASELINES
from ...difficulty.scores import SCORES, normalized
from ...runtime.progress import counted
from ..comparison.shape import Interval
from .read import Floats, Table, Target
from .samples import Text
from .shape import Agreement, ColumnInfo, Extremes, Kind, LayerInfo, LayersInfo, SampleInfo, Spread
from .statistics import Ranks, matrix, skew, spearman

QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
MOST_BINS = 30
MOST_LAYERS = 3
"""Named as those that differ most."""
ROUNDING = 1e-5
"""Of a column's spread: what two ways to one number differ by."""
SHOWN = 10
"""Examples of each end."""


def kind_of(column: str) -> Kind:
    """By its own name: what comes before a dot is the file's."""
    own = column.rpartition(".")[2]
    return "meta token" if own in SCORES else "baseline" if own in BASELINES else "other"


def once(table: Table) -> Table:
    """Columns of one kind that are the same numbers as another are left out, and noted; `mean` is the one kept."""
    names = sorted(table.columns, key=lambda name: name.rpartition(".")[2] != "mean")
    kept: list[str] = []
    notes: list[str] = []
    num_layers = {layers_nl.shape[1] for layers_nl in table.layers.values()}
    for name in names:
        same = (one for one in kept if kind_of(one) == kind_of(name) and _same(table.columns[one], table.columns[name]))
        if (one := next(same, None)) is None:
            kept.append(name)
            continue
        by_layers = kind_of(name) == "meta token" and len(num_layers) == 1
        why = f": {counted(next(iter(num_layers)), 'layer')}" if by_layers else ""
        notes.append(f"{name} is {one} here{why}")
    columns = {name: values for name, values in table.columns.items() if name in kept}
    return replace(table, columns=columns, notes=[*table.notes, *notes])


def _same(one: Floats, other: Floats) -> bool:
    """But for rounding; a column that is constant or unknown is like no other."""
    known = np.isfinite(one)
    if not known.any() or (known != np.isfinite(other)).any() or np.ptp(one[known]) == 0:
        return False
    return bool(np.abs(one[known] - other[known]).max() <= ROUNDING * one[known].std())


def spread(values_n: Floats) -> Spread:
    known = values_n[np.isfinite(values_n)]
    unknown = len(values_n) - len(known)
    if not len(known):
        return Spread(0, unknown, np.nan, np.nan, np.nan, {str(q): np.nan for q in QUANTILES})
    quantiles = {str(q): float(at) for q, at in zip(QUANTILES, np.quantile(known, QUANTILES), strict=True)}
    return Spread(len(known), unknown, float(known.mean()), float(known.std()), skew(known), quantiles)


def describe(name: str, values_n: Floats) -> ColumnInfo:
    known = values_n[np.isfinite(values_n)]
    counts, edges = np.histogram(known, bins=_bins(known)) if len(known) else (np.zeros(0), np.zeros(0))
    return ColumnInfo(name, kind_of(name), spread(values_n), [float(e) for e in edges], [int(c) for c in counts])


def _bins(known: Floats) -> int:
    """Freedman and Diaconis: wide enough for the examples there are."""
    quarter, three = np.quantile(known, [0.25, 0.75])
    width = 2 * (three - quarter) / len(known) ** (1 / 3)
    return int(np.clip(np.ceil(np.ptp(known) / width), 5, MOST_BINS)) if width > 0 else 10


def describe_layers(table: Table, target: Target | None) -> list[LayersInfo]:
    """Of the examples whose every layer is known."""
    known = {file: np.asarray(np.isfinite(layers_nl).all(1)) for file, layers_nl in table.layers.items()}
    return [_layers(file, table.layers[file], known_n, target) for file, known_n in known.items() if known_n.any()]


def _layers(file: str, layers_nl: Floats, known_n: npt.NDArray[np.bool_], target: Target | None) -> LayersInfo:
    raw_nl = layers_nl[known_n]
    scaled_nl = normalized(raw_nl.astype(np.float32), "zscore")
    num = raw_nl.shape[1]
    largest = np.bincount(scaled_nl.argmax(1), minlength=num) / len(raw_nl)
    infos = [
        LayerInfo(
            layer + 1,
            spread(raw_nl[:, layer]),
            spread(scaled_nl[:, layer]),
            float(largest[layer]),
            None if target is None else _with_target(raw_nl[:, layer], target.values_n[known_n]),
        )
        for layer in range(num)
    ]
    order = np.argsort(-raw_nl.mean(0), kind="stable")[:MOST_LAYERS]
    return LayersInfo(file, infos, [int(layer) + 1 for layer in order])


def _with_target(values_n: Floats, target_n: Floats) -> Interval | None:
    known = np.isfinite(target_n)
    found = spearman(Ranks(values_n[known]), Ranks(target_n[known]))
    return None if found is None else found.interval()


def agreement(table: Table, target: Target | None) -> Agreement:
    columns = _all(table, target)
    return Agreement(list(columns), matrix(list(columns.values())))


def _all(table: Table, target: Target | None) -> dict[str, Floats]:
    return table.columns if target is None else {**table.columns, target.name: target.values_n}


# ---- the ends -------------------------------------------------------------------------------------------------------


def leading(table: Table, target: Target | None) -> str:
    """The column that the ends are taken by: `mean` of the first file, else the first there is; of mere lengths the
    target."""
    names = list(table.columns)
    if table.alone is not None or (target is not None and names == ["length"]):
        return table.alone or (target.name if target else names[0])
    own = [name for name in names if name.rpartition(".")[2] == "mean"]
    return next(iter(own or [name for name in names if kind_of(name) == "meta token"] or names))


def ends(table: Table, target: Target | None) -> tuple[list[int], list[int]]:
    """Places of the hardest, hardest first, and of the easiest, easiest first; none is in both."""
    values_n = _all(table, target)[leading(table, target)]
    known = np.flatnonzero(np.isfinite(values_n))
    order = known[np.argsort(values_n[known], kind="stable")]
    num = min(SHOWN, len(order) // 2)
    return [int(i) for i in order[::-1][:num]], [int(i) for i in order[:num]]


def extremes(table: Table, target: Target | None, texts: dict[str, Text], note: str) -> Extremes:
    columns = _all(table, target)
    hard, easy = ([_sample(table, columns, i, texts) for i in side] for side in ends(table, target))
    return Extremes(leading(table, target), hard, easy, note)


def _sample(table: Table, columns: dict[str, Floats], i: int, texts: dict[str, Text]) -> SampleInfo:
    name = table.ids[i].decode()
    scores = {column: float(values[i]) if np.isfinite(values[i]) else None for column, values in columns.items()}
    return SampleInfo(name, scores, texts.get(name, []))
