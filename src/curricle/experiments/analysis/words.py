"""What an analysis comes to, in sentences; the terminal and the page say the same."""

from __future__ import annotations

from ..comparison.shape import Interval
from .foresee import LINES, is_headline, uneven
from .shape import Analysis, Foreseen, Foresight


def interval(found: Interval | None, sign: bool = False) -> str:
    """`0.149 [-0.037, 0.325]`."""
    if found is None:
        return "-"
    spec = "+z.3f" if sign else "z.3f"
    ends = "" if found.low is None or found.high is None else f" [{found.low:{spec}}, {found.high:{spec}}]"
    return f"{found.mean:{spec}}{ends}"


def percent(found: Interval | None) -> str:
    """`51.3% [42.3%, 60.2%]`."""
    if found is None:
        return "-"
    ends = "" if found.low is None or found.high is None else f" [{found.low:.1%}, {found.high:.1%}]"
    return f"{found.mean:.1%}{ends}"


def summary(analysis: Analysis) -> list[str]:
    """The source's lines for the score named in advance, and how the best score does against the best baseline."""
    several = len(analysis.layers) > 1
    lines = [
        f"layers that differ most{f', {layers.file}' if several else ''}: {', '.join(map(str, layers.most))} of "
        f"{len(layers.layers)}"
        for layers in analysis.layers
        if len(layers.most) < len(layers.layers)
    ]
    foresight = analysis.foresight
    if foresight is None:
        return lines
    lines += [_lines_of(column) for column in foresight.columns if is_headline(column.column) and column.lines]
    return lines + [
        f"{pair.why} (difference of |rho| {interval(pair.difference, sign=True)})" for pair in foresight.paired
    ]


def _lines_of(column: Foreseen) -> str:
    said = []
    for line, outcome in column.lines.items():
        figure = LINES[line][0]
        show = percent if figure == "accuracy" else interval
        chance = f" (by chance {column.chance:.1%})" if figure == "accuracy" and uneven(column.chance) else ""
        said.append(f"{line} is {outcome}, {show(getattr(column, figure))}{chance}")
    return f"{column.column}: {'; '.join(said)}"


def heading(foresight: Foresight, level: float) -> str:
    return (
        f"Against `{foresight.target}` of {foresight.file} ({foresight.num:,} examples, intervals of {level:.0%}; "
        "AUC and accuracy of the harder half; AUC is a half by chance, accuracy what `by chance` says)"
    )


def remarks(analysis: Analysis) -> list[str]:
    """What was left out, and how the figures against real difficulty are to be read."""
    lines, foresight = list(analysis.notes), analysis.foresight
    if foresight is None and analysis.alone is not None:
        return [
            *lines,
            f"only real difficulty is here, `{analysis.alone}`; `curricle score` makes what to hold against it",
        ]
    if foresight is None:
        return [*lines, "no real difficulty to hold the scores against: --against names a file that has it"]
    target = foresight.target
    if foresight.length is None:
        lines.append("no column `length`, so no correlation given length")
    if abs(foresight.hard - 0.5) > 0.01:
        lines.append(f"{foresight.hard:.0%} of the examples are above the median of `{target}`: many are alike")
    if odd := [f"{column.column} ({column.chance:.0%})" for column in foresight.columns if uneven(column.chance)]:
        lines.append(
            f"accuracy > 70% is not decidable where chance is no half, as many values of the score and of "
            f"`{target}` are alike; by chance: {', '.join(odd)}"
        )
    rhos = {column.column: column.rho for column in foresight.columns if column.rho is not None}
    if falling := [name for name, rho in rhos.items() if rho.high is not None and rho.high < 0]:
        lines.append(
            f"falls where `{target}` grows: {', '.join(falling)}; AUC and accuracy are as they are, not turned"
        )
    if constant := [column.column for column in foresight.columns if column.rho is None]:
        lines.append(f"the same for all examples, or unknown: {', '.join(constant)}")
    if foresight.paired:
        lines.append(
            "the strongest score and the strongest baseline were chosen on these very examples, which flatters both; "
            "`mean` is the score named in advance"
        )
    return lines
