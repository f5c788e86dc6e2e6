"""Pass or fail beside log-loss, over models of growing scale: is a jump the model's, or the metric's?

An answer of L tokens is right as a whole with a probability of about p^L, where p is that of a token. p can grow evenly
and p^L still stays near 0 for long and then rises at once, later for longer answers (Schaeffer et al. 2023). So each
measure is asked how uneven it is, log-loss as its logarithm, in which a power law is straight.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..data.readers import BadRow, read_rows
from ..errors import DataError, RecipeError
from ..runtime.files import write_json, write_text
from .drawing import Chart

COLUMNS = ("scale", "log_prob", "tokens", "passed")
LEAST_SCALES = 4
JUMP = 2.0
"""A step that brings twice its even share of the whole change, or more, is called a jump."""
PASSED = {"1": 1.0, "true": 1.0, "1.0": 1.0, "0": 0.0, "false": 0.0, "0.0": 0.0}


@dataclass(frozen=True)
class Scale:
    """All answers of one model."""

    scale: float
    answers: int
    log_loss: float
    """A token, over all tokens of the answers."""
    expected: float
    """Mean probability of a whole answer: what passes when one is drawn."""
    passed: float | None

    @property
    def pass_rate(self) -> float:
        return self.expected if self.passed is None else self.passed


@dataclass(frozen=True)
class MetricPlan:
    """What `curricle plan metric` says."""

    scales: tuple[Scale, ...]
    pass_jump: float | None
    loss_jump: float | None

    @property
    def verdict(self) -> str:
        if self.pass_jump is None or self.pass_jump < JUMP:
            return "pass or fail shows no jump"
        if self.loss_jump is not None and self.loss_jump >= JUMP:
            return "pass or fail jumps and log-loss does too: more than the metric's threshold"
        return "pass or fail jumps where log-loss changes evenly or not at all: the jump is the metric's"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"verdict": self.verdict}

    def __str__(self) -> str:
        lines = [f"{'scale':>10} {'answers':>8} {'log-loss':>9} {'a token':>8} {'whole':>8} {'passed':>8}"]
        for each in self.scales:
            passed = "-" if each.passed is None else f"{each.passed:.4f}"
            lines.append(
                f"{each.scale:>10.4g} {each.answers:>8} {each.log_loss:>9.4f} {math.exp(-each.log_loss):>8.4f} "
                f"{each.expected:>8.4f} {passed:>8}"
            )
        lines += [f"{name}: {_steepest(value)}" for name, value in (("pass", self.pass_jump), ("loss", self.loss_jump))]
        return "\n".join([*lines, self.verdict])

    def draw(self) -> str:
        """The share of answers that pass, beside the mean probability of a token."""
        chart = Chart("Pass or fail (line), a token's probability (dashed)", "scale", "share", log_x=True)
        passed = [(each.scale, each.pass_rate) for each in self.scales]
        tokens = [(each.scale, math.exp(-each.log_loss)) for each in self.scales]
        chart.lines += [(passed, "two"), (tokens, "one less")]
        chart.points += [(passed, "two", 3), (tokens, "one", 3)]
        return chart.draw()

    def write(self, folder: str | Path) -> None:
        """metric.json and metric.svg."""
        write_json(Path(folder) / "metric.json", self.as_dict())
        write_text(Path(folder) / "metric.svg", self.draw())


def plan_metric(paths: Sequence[str | Path], columns: Mapping[str, str] | None = None) -> MetricPlan:
    """From rows of one answer each: the model's `scale`, `log_prob` of the right answer, its `tokens`, and `passed`."""
    columns = dict(columns or {})
    if unknown := [name for name in columns if name not in COLUMNS]:
        raise RecipeError(f"no quantity is called {unknown[0]!r}; allowed: {', '.join(COLUMNS)}.")
    named = {name: columns.get(name, name) for name in COLUMNS}
    found: dict[float, list[tuple[float, float, float | None]]] = {}
    for path in paths:
        for row in read_rows(path):
            where = f"{path}:{row.line}"
            if isinstance(row.value, BadRow):
                raise DataError(f"{where}: {row.value}")
            scale, log_prob, tokens, passed = _answer(row.value, named, where, "passed" in columns)
            found.setdefault(scale, []).append((log_prob, tokens, passed))
    if len(found) < LEAST_SCALES:
        raise DataError(
            f"{', '.join(map(str, paths))}: {len(found)} different scales, and a jump shows among {LEAST_SCALES} or "
            "more; add answers of other models."
        )
    return judge([_scale(scale, found[scale]) for scale in sorted(found)])


def judge(scales: Sequence[Scale]) -> MetricPlan:
    """Of scales from small to large."""
    at = [math.log(each.scale) for each in scales]
    falling = [-math.log(max(each.log_loss, 1e-12)) for each in scales]
    return MetricPlan(tuple(scales), unevenness(at, [each.pass_rate for each in scales]), unevenness(at, falling))


def unevenness(at: Sequence[float], values: Sequence[float]) -> float | None:
    """How much of the whole change the steepest step upwards brings, over its share of the way; 1 is even. None where
    nothing changes."""
    change, way = max(values) - min(values), at[-1] - at[0]
    if change <= 0:
        return None
    steps = zip(pairwise(at), pairwise(values), strict=True)
    return max((high - low) / change * way / (end - start) for (start, end), (low, high) in steps)


def _scale(scale: float, answers: Sequence[tuple[float, float, float | None]]) -> Scale:
    passed = [each for _, _, each in answers if each is not None]
    if passed and len(passed) < len(answers):
        raise DataError(f"scale {scale:g}: {len(answers) - len(passed)} of {len(answers)} answers have no `passed`.")
    return Scale(
        scale,
        len(answers),
        -sum(log_prob for log_prob, _, _ in answers) / sum(tokens for _, tokens, _ in answers),
        sum(math.exp(log_prob) for log_prob, _, _ in answers) / len(answers),
        sum(passed) / len(passed) if passed else None,
    )


def _answer(
    row: Mapping[str, Any], named: Mapping[str, str], where: str, needs_passed: bool
) -> tuple[float, float, float, float | None]:
    numbers = {}
    for name in ("scale", "log_prob", "tokens"):
        if named[name] not in row:
            has = ", ".join(map(str, row))
            raise DataError(f"{where}: no column {named[name]!r}; there are: {has}. Name yours: --columns {name}=...")
        numbers[name] = _number(row[named[name]])
    asked = {
        "scale": ("a number above 0", numbers["scale"] > 0),
        "log_prob": ("a number of at most 0, the sum over the answer's tokens", numbers["log_prob"] <= 0),
        "tokens": ("a number of at least 1", numbers["tokens"] >= 1),
    }
    for name, (wanted, fits) in asked.items():
        if not fits:
            raise DataError(f"{where}: {named[name]} is {row[named[name]]!r}, which should be {wanted}.")
    if named["passed"] not in row and not needs_passed:
        return numbers["scale"], numbers["log_prob"], numbers["tokens"], None
    passed = PASSED.get(str(row.get(named["passed"])).lower())
    if passed is None:
        raise DataError(f"{where}: {named['passed']} is {row.get(named['passed'])!r}; allowed: 0, 1, true, false.")
    return numbers["scale"], numbers["log_prob"], numbers["tokens"], passed


def _number(value: Any) -> float:
    """NaN, which is neither above nor below anything, for what is no finite number."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return math.nan
    return number if math.isfinite(number) and not isinstance(value, bool) else math.nan


def _steepest(jump: float | None) -> str:
    return "the same at every scale" if jump is None else f"the steepest step brings {jump:.2f} times its even share"
