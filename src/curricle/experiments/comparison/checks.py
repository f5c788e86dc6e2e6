"""The recipe's `checks:`, the sources' success lines: read before training, judged after it.

    <figure> <op> <value>        op: >  >=  <  <=
    value: 70 | 3% | phase1 | phase1 + 5 | 0.6 * phase1        (an arm's name: that arm's same figure)

A measured figure is judged by its interval, as it is about examples and seeds that were not tried: it is met when all
of the interval is on the right side, not decidable when the threshold lies inside. A figure of the run itself (a norm,
a time) is a fact about each run: it is met when every run meets it and not met when none does.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ...errors import RecipeError, nearest
from ...evaluation.config import PERCENT, Range
from .config import CheckConfig, ComparisonConfig
from .contrast import Contrast, difference, own_figure, range_of
from .facts import ArmFacts
from .run_figures import IN_PERCENT, OF_RUNS, TO_BASE, YES_NO, run_figure
from .shape import CheckOutcome, Outcome

OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_CHECK = re.compile(r"(?P<figure>[^\s<>=]+)(?:\s*(?P<op>>=|<=|>|<)\s*(?P<value>\S.*))?")
_PLAIN = re.compile(rf"(?P<number>{_NUMBER})\s*(?P<percent>%)?")
_OTHER = re.compile(
    rf"(?:(?P<factor>{_NUMBER})\s*\*\s*)?(?P<arm>\w[\w.=+-]*)(?:\s+(?P<sign>[+-])\s*(?P<offset>{_NUMBER}))?"
)
FORM = "a check is `<figure> <op> <value>`, such as `rouge.sum > 70`, `loss < base` or `seconds < 0.6 * base`"


@dataclass(frozen=True)
class Check:
    """One line, read: the figure must be `op` than `factor` times the figure of arm `other`, plus `offset`."""

    arm: str | None
    figure: str
    op: str
    offset: float
    other: str | None
    factor: float
    text: str
    otherwise: str
    percent: bool = False
    """Its value is written as a percentage."""

    def holds(self, value: float, threshold: float) -> bool:
        return OPERATORS[self.op](value, threshold)


def check_figures(known_metrics: Iterable[str]) -> list[str]:
    """Every figure that a check may name: what the recipe measures, and what a run's books hold."""
    return list(dict.fromkeys([*known_metrics, *OF_RUNS]))


def parse_checks(
    checks: Sequence[CheckConfig],
    known_metrics: Iterable[str] | Mapping[str, Range] | None = None,
    known_arms: Sequence[str] | None = None,
) -> list[Check]:
    """Read the lines. With all that is going to be measured and run, an unknown figure or arm is refused with the
    nearest one, and so is a percentage of a figure whose range is another; without, as after a run of some arms only,
    it is left to the judging."""
    figures = None if known_metrics is None else check_figures(known_metrics)
    ranges = known_metrics if isinstance(known_metrics, Mapping) else {}
    found = [_parse(check, figures, known_arms, f"checks[{i}]") for i, check in enumerate(checks)]
    for i, check in enumerate(found):
        if check.percent and not _in_percent(check.figure, ranges.get(check.figure)):
            raise RecipeError(f"checks[{i}] `{check.text}`: {_no_percentage(check.figure)}")
    return found


def _in_percent(figure: str, found: Range | None) -> bool:
    """Where nothing is known of a figure's range it may be."""
    return figure in IN_PERCENT if figure in OF_RUNS else found is None or found == PERCENT


def _no_percentage(figure: str) -> str:
    return f"`{figure}` is not in percent; write a number, or `0.6 * <arm>` for a share"


def _parse(written: CheckConfig, figures: Sequence[str] | None, arms: Sequence[str] | None, place: str) -> Check:
    where = f"{place} `{written.check}`"
    found = _CHECK.fullmatch(written.check.strip())
    if found is None:
        raise RecipeError(f"{where}: {_of_one_arm(written.check, arms) or FORM}")
    figure = found["figure"]
    if figures is not None and figure not in figures:
        hint = _of_one_arm(written.check, arms) or nearest(figure, figures)
        raise RecipeError(f"{where}: no figure `{figure}` will be measured; {hint}")
    if arms is not None and written.arm is not None and written.arm not in arms:
        raise RecipeError(f"{where}: no arm `{written.arm}`; {nearest(written.arm, arms)}")
    if found["op"] is None and figure not in YES_NO:
        raise RecipeError(f"{where}: {FORM}")
    op, value = found["op"] or ">=", found["value"] or "1"
    offset, other, factor = _value(value.strip(), arms, where)
    if other is not None and other == written.arm:
        raise RecipeError(f"{where}: arm `{other}` is compared with itself; name another arm")
    percent = other is None and value.endswith("%")
    return Check(written.arm, figure, op, offset, other, factor, written.check.strip(), written.otherwise, percent)


def _of_one_arm(line: str, arms: Sequence[str] | None) -> str:
    """How a line about one arm is written, where it begins with an arm's name and a dot or a colon."""
    for arm in sorted(arms or (), key=len, reverse=True):
        if found := re.match(rf"{re.escape(arm)}\s*[.:]\s*(.*)", line.strip(), re.DOTALL):
            return f"a check of one arm is written {{arm: {arm}, check: {found[1] or '<figure> <op> <value>'}}}"
    return ""


def _value(text: str, arms: Sequence[str] | None, where: str) -> tuple[float, str | None, float]:
    """(number, None, 0), or (what is added, the other arm, what it is multiplied by)."""
    if text not in (arms or ()) and (plain := _PLAIN.fullmatch(text)):
        return float(plain["number"]), None, 0.0
    if text in (arms or ()):
        return 0.0, text, 1.0
    found = _OTHER.fullmatch(text)
    if found is None:
        raise RecipeError(f"{where}: `{text}` is no value; allowed are 70, 3%, <arm>, <arm> + 5 and 0.6 * <arm>")
    if arms is not None and found["arm"] not in arms:
        raise RecipeError(f"{where}: no arm `{found['arm']}`; {nearest(found['arm'], arms)}")
    offset = float(f"{found['sign']}{found['offset']}") if found["offset"] else 0.0
    factor = float(found["factor"] or 1.0)
    if factor <= 0:
        raise RecipeError(f"{where}: {factor:g} * {found['arm']} is no share of a figure; the factor must be above 0")
    return offset, found["arm"], factor


# ---- judging --------------------------------------------------------------------------------------------------------


def judge(checks: Sequence[Check], arms: Sequence[ArmFacts], config: ComparisonConfig) -> list[CheckOutcome]:
    """Each line for each arm it is about. A line about every arm leaves out the arm it compares with and, for a figure
    of the training, arms that nobody trained."""
    by_name = {arm.name: arm for arm in arms}
    base = by_name.get(config.base or "", arms[0])
    return [_judge(check, name, by_name, base, config) for check in checks for name in _concerned(check, arms)]


def _concerned(check: Check, arms: Sequence[ArmFacts]) -> list[str]:
    if check.arm is not None:
        return [check.arm]
    of_run = check.figure in OF_RUNS
    return [arm.name for arm in arms if arm.name != check.other and (arm.trained or not of_run)]


def _judge(
    check: Check, name: str, arms: Mapping[str, ArmFacts], base: ArmFacts, config: ComparisonConfig
) -> CheckOutcome:
    lacking = [each for each in (name, check.other) if each is not None and each not in arms]
    if lacking:
        why = f"{lacking[0]} has no finished run"
        return CheckOutcome(name, check.text, "not decidable", "-", why, check.otherwise)
    arm, other = arms[name], arms[check.other] if check.other else None
    of_run = check.figure in OF_RUNS
    outcome, measured, why = _by_run(check, arm, other, base) if of_run else _by_interval(check, arm, other, config)
    return CheckOutcome(arm.name, check.text, outcome, measured, why, check.otherwise)


def _by_run(check: Check, arm: ArmFacts, other: ArmFacts | None, base: ArmFacts) -> tuple[Outcome, str, str]:
    """The facts of each run, against those of the other arm's run of the same seed; `base` is what a run's way to the
    base arm's loss is measured by."""
    held: list[bool] = []
    shown: list[str] = []
    for seed, run in arm.runs.items():
        beside = other.run_of(seed) if other else None
        value = run_figure(run, check.figure, base.run_of(seed))
        theirs = run_figure(beside, check.figure, base.run_of(seed)) if beside else 0.0 if other is None else None
        if value is None or theirs is None:
            continue
        threshold = check.factor * theirs + check.offset
        held.append(check.holds(value, threshold))
        shown.append(_number(value) + (f" against {_number(threshold)}" if other else ""))
    if not held:
        return "not decidable", "-", _lacking(check, arm, other, base)
    outcome: Outcome = "met" if all(held) else "not decidable" if any(held) else "not met"
    runs = "one run" if len(held) == 1 else f"{sum(held)} of {len(held)} runs meet it"
    return outcome, ", ".join(shown), runs


def _number(value: float) -> str:
    return "never" if math.isinf(value) else f"{value:.4g}"


def _by_interval(
    check: Check, arm: ArmFacts, other: ArmFacts | None, config: ComparisonConfig
) -> tuple[Outcome, str, str]:
    if other is None:
        contrast, threshold = own_figure(arm, check.figure, config), check.offset
    else:
        contrast, threshold = difference(arm, other, check.figure, config, check.factor), check.offset
    if contrast is None:
        return "not decidable", "-", _lacking(check, arm, other)
    if check.percent and not all(
        _in_percent(check.figure, range_of(r.results, check.figure)) for r in arm.runs.values()
    ):
        return "not decidable", f"{contrast.estimate.mean:.4g}", _no_percentage(check.figure)
    if contrast.problem and contrast.problem != "one seed":
        return "not decidable", f"{contrast.estimate.mean:.4g}", contrast.problem
    contrast = replace(contrast, problem="")
    value, interval = contrast.estimate.mean, contrast.interval(config.level)
    name = f"{check.figure}" if other is None else f"{check.figure} less {_times(check)}"
    rests = _rests(contrast)
    if interval.low is None or interval.high is None:
        outcome: Outcome = "met" if check.holds(value, threshold) else "not met"
        return outcome, f"{value:.4g}", f"{name} is {value:.4g}; no interval can be drawn from {rests}"
    measured = f"{value:.4g} [{interval.low:.4g}, {interval.high:.4g}]"
    sides = {check.holds(bound, threshold) for bound in (interval.low, interval.high)}
    if len(sides) == 2:
        return "not decidable", measured, f"{threshold:g} lies inside the interval of {name} over {rests}"
    side = "above" if interval.low >= threshold else "below"
    outcome = "met" if sides == {True} else "not met"
    return outcome, measured, f"the whole interval of {name} is {side} {threshold:g}, over {rests}"


def _times(check: Check) -> str:
    return check.other or "" if check.factor == 1 else f"{check.factor:g} * {check.other}"


def _rests(contrast: Contrast) -> str:
    seeds = len(contrast.seeds)
    text = f"{seeds} seed" + ("" if seeds == 1 else "s")
    return f"{text} and {contrast.num_examples:,} examples" if contrast.num_examples else text


def _lacking(check: Check, arm: ArmFacts, other: ArmFacts | None, base: ArmFacts | None = None) -> str:
    """Why there is no figure."""
    for side in [arm, *([other] if other else [])]:
        if check.figure in OF_RUNS:
            beside = {seed: base.run_of(seed) if base else None for seed in side.runs}
            has = any(run_figure(run, check.figure, beside[seed]) is not None for seed, run in side.runs.items())
            reason = _why_not(check.figure, base)
        else:
            has = any(check.figure in run.metrics for run in side.runs.values())
            reason = "it was not measured there"
        if not has:
            return f"{side.name} has no {check.figure}: {reason if side.trained else 'it was not trained'}"
    return f"{arm.name} and {other.name if other else ''} have no seed in common with a {check.figure}"


def _why_not(figure: str, base: ArmFacts | None) -> str:
    """What a trained arm lacks where it has no such figure of its runs."""
    if figure in TO_BASE and base is not None:
        return f"no run has a held-out loss over the same tokens as {base.name}'s run of its seed"
    if figure == "layers.spread":
        return "fewer than two layers have a LoRA update that was logged"
    return "fewer than two epochs were trained" if figure in YES_NO else "no step was logged"
