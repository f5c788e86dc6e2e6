"""The report's tables as rows of text, the same for both pages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..comparison.differing import differing
from ..comparison.render import settled
from ..comparison.shape import Cell, Comparison
from .words import common_decimals, count, duration, mean, memory, number, plain, with_spread


@dataclass(frozen=True)
class Table:
    head: list[str]
    rows: list[list[str]]
    """The first column names the row."""

    def __bool__(self) -> bool:
        return bool(self.rows)


def seeds_table(comparison: Comparison) -> Table:
    """Every seed's own figures, a row an arm and seed."""
    runs = [(arm.name, seed) for arm in comparison.arms for seed in arm.seeds]
    rows = []
    for arm, seed in runs:
        cells = [comparison.cell(arm, metric.name) for metric in comparison.metrics]
        rows.append([f"{arm}, seed {seed}", *(number(cell.per_seed.get(seed)) if cell else "–" for cell in cells)])
    return Table(["run", *(metric.name for metric in comparison.metrics)], rows)


def differing_rows(comparison: Comparison) -> list[tuple[str, str, str, str]]:
    """Arm, key, the base arm's value, this arm's."""
    return [
        (arm.name, said.key, plain(said.base), plain(said.own))
        for arm in comparison.arms
        for said in differing(arm.changes)
    ]


def arm_lines(comparison: Comparison) -> list[str]:
    """What the table of differences cannot say."""
    lines = [f"{arm.name} was measured as it came, not trained." for arm in comparison.arms if not arm.trained]
    alike = [arm.name for arm in comparison.arms if not arm.changes and arm.name != comparison.base]
    lines += [f"{name} has the same settings as {comparison.base}." for name in alike]
    if len(comparison.arms) == 1:
        lines.append("There is only one arm.")
    return lines


def compute_table(comparison: Comparison) -> Table:
    head = [
        *("arm", "steps", "tokens", "learned tokens", "epochs", "repeats", "training FLOPs", "FLOPs beforehand"),
        *("time", "tokens/s", "peak memory"),
    ]
    rows = [
        [
            *(cost.arm, count(cost.steps), count(cost.tokens), count(cost.supervised_tokens)),
            *(count(cost.epochs), count(cost.repeats), count(cost.train_flops), count(cost.label_flops)),
            *(duration(cost.seconds), count(cost.tokens_per_second), memory(cost.peak_memory_bytes)),
        ]
        for cost in comparison.compute
    ]
    return Table(head, rows)


def reached_table(comparison: Comparison) -> Table:
    """What it took each arm to get to the base arm's final held-out loss."""
    rows = []
    for arm, progress in comparison.progress.arms.items():
        tokens, seconds = progress.tokens_to_base, progress.seconds_to_base
        rows.append(
            [
                arm,
                progress.reached,
                "–" if tokens is None else _with_ends(tokens.mean, tokens.low, tokens.high, count),
                "–" if seconds is None else _with_ends(seconds.mean, seconds.low, seconds.high, duration),
                "–" if (x := progress.saved) is None else _with_ends(x.mean, x.low, x.high, _percent),
            ]
        )
    return Table(["arm", "runs that reached it", "tokens", "time", "tokens saved"], rows)


def _percent(value: float) -> str:
    return f"{number(value, 1)} %"


def _with_ends(mean: float, low: float | None, high: float | None, show: Callable[[float], str]) -> str:
    return show(mean) if low is None or high is None else f"{show(mean)} [{show(low)}, {show(high)}]"


def domain_table(comparison: Comparison) -> Table:
    """The finished models' held-out loss, a row an arm and a column a domain, as on screen."""
    rows = []
    for arm in comparison.arms:
        cells = [next((cell for cell in each.cells if cell.arm == arm.name), None) for each in comparison.domains]
        if any(cells):
            rows.append([arm.name, *("–" if cell is None else _of_domain(cell) for cell in cells)])
    return Table(["arm", *(each.domain for each in comparison.domains)], rows)


def _of_domain(cell: Cell) -> str:
    """`0.762`, or `0.762 (+0.104, worse)` where it is shown to differ from the base arm."""
    loss = number(cell.interval.mean, 3)
    if cell.difference is None or not (verdict := settled(cell)):
        return loss
    return f"{loss} ({mean(cell.difference.interval, sign=True, decimals=3)}, {verdict})"


def marks_table(comparison: Comparison) -> Table:
    """Held-out loss at equal tokens."""
    progress = comparison.progress
    found = [own.at_marks for own in progress.arms.values()]
    decimals = common_decimals(loss for losses in found for loss in losses if loss is not None)
    rows = [
        [count(mark), *("–" if (x := losses[i]) is None else with_spread(x, decimals=decimals) for losses in found)]
        for i, mark in enumerate(progress.marks)
    ]
    measured = any(loss is not None for losses in found for loss in losses)
    return Table(["tokens trained on", *progress.arms], rows if measured else [])
