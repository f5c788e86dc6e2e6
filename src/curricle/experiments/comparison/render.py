"""A comparison as text: aligned columns for a terminal, tables for a notebook. Nothing in it needs colour."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..results import render
from .differing import differing
from .shape import ArmInfo, Cell, Comparison, Compute, DomainLoss, Interval

Row = dict[str, Any]
ARROW = {True: "higher is better", False: "lower is better"}
CHANGES = 3
"""Changed keys that are named in the table of arms; the rest are counted."""
DOMAINS = 12
"""Columns of the table by domain."""
MORE = "comparison.json and the report have all"


def as_text(comparison: Comparison) -> str:
    """For the terminal."""
    parts = [_title(comparison)]
    for heading, rows, note in _tables(comparison):
        parts.append(f"{heading}\n{render(rows)}" + (f"\n{note}" if note else ""))
    parts += [f"{heading}\n" + "\n".join(f"- {line}" for line in lines) for heading, lines in _lists(comparison)]
    return "\n\n".join(parts)


def as_markdown(comparison: Comparison) -> str:
    """For a notebook."""
    parts = [_title(comparison)]
    for heading, rows, note in _tables(comparison):
        parts.append(f"**{heading}**\n\n{_markdown(rows)}" + (f"\n\n{note}" if note else ""))
    for heading, lines in _lists(comparison):
        parts.append(f"**{heading}**\n\n" + "\n".join(f"- {line}" for line in lines))
    return "\n\n".join(parts)


def _title(comparison: Comparison) -> str:
    if len(comparison.arms) == 1:
        return f"{comparison.name}: {comparison.base}, which nothing is compared with"
    others = len(comparison.arms) - 1
    arms = "1 arm" if others == 1 else f"{others} arms"
    return f"{comparison.name}: {arms} against {comparison.base}; intervals of {100 * comparison.level:g} %"


def _tables(comparison: Comparison) -> list[tuple[str, list[Row], str]]:
    """Heading, rows, and a line that goes beneath."""
    shown = _domains_shown(comparison)
    tables = [
        ("Arms", [_arm(arm, comparison.base) for arm in comparison.arms], ""),
        ("Figures", _figures(comparison), perplexities_said(comparison)),
        ("By domain", _by_domain(comparison, shown), by_domain_said(comparison, len(shown))),
        ("Compute", _compute(comparison), ""),
        ("Held-out loss at equal tokens", _marks(comparison), ""),
        ("Checks", _checks(comparison), ""),
    ]
    return [(heading, rows, note) for heading, rows, note in tables if rows]


def _lists(comparison: Comparison) -> list[tuple[str, list[str]]]:
    otherwise = [
        f"{check.arm}: {check.check} is not met; {check.otherwise}"
        for check in comparison.checks
        if check.outcome == "not met" and check.otherwise
    ]
    lists = [
        ("What to do", otherwise),
        ("What stays open", comparison.open_questions),
        ("Mind", comparison.warnings),
    ]
    return [(heading, lines) for heading, lines in lists if lines]


# ---- tables ---------------------------------------------------------------------------------------------------------


def _arm(arm: ArmInfo, base: str) -> Row:
    every = differing(arm.changes)
    named = [
        said.own if said.in_words else f"{said.key} {_value(said.base)} -> {_value(said.own)}"
        for said in every[:CHANGES]
    ]
    more = len(every) - len(named)
    what = "; ".join([*named, *([f"{more} more"] if more > 0 else [])])
    if arm.name == base:
        what = "what the others are compared with"
    return {"arm": arm.name, "seeds": ", ".join(map(str, arm.seeds)), "what differs": what or "nothing"}


def _value(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _figures(comparison: Comparison) -> list[Row]:
    compared = len(comparison.arms) > 1
    rows = []
    for info in comparison.metrics:
        for arm in comparison.arms:
            cell = comparison.cell(arm.name, info.name)
            if cell is not None:
                row = {"figure": f"{info.name} ({ARROW[info.higher_is_better]})", "arm": arm.name}
                row["value"] = _interval(cell.interval)
                rows.append(row | (_against(cell) if compared else {}))
    for before, row in zip([{}, *rows], list(rows), strict=False):
        row["shown"] = "" if row["figure"] == before.get("figure") else row["figure"]
    return [{"figure": row.pop("shown")} | {k: v for k, v in row.items() if k != "figure"} for row in rows]


def _against(cell: Cell) -> Row:
    found = cell.difference
    if found is None:
        return {"difference": "", "p": "", "verdict": ""}
    p = "" if found.p_corrected is None else f"{found.p_corrected:.2g}"
    one_seed = len(found.seeds) == 1 and found.verdict == "not decidable"
    verdict = "not decidable (one seed)" if one_seed else found.verdict
    return {"difference": _interval(found.interval, sign=True), "p": p, "verdict": verdict}


def _interval(interval: Interval | None, sign: bool = False, form: str = ".4g") -> str:
    if interval is None:
        return "-"
    spec = f"+{form}" if sign else form
    text = format(interval.mean, spec)
    if interval.low is not None and interval.high is not None:
        text += f" [{format(interval.low, spec)}, {format(interval.high, spec)}]"
    return text


def perplexities_said(comparison: Comparison) -> str:
    """What the two perplexities are, where both are there: of one model on one set of rows they differ a little."""
    names = [info.name for info in comparison.metrics]
    answers = next(
        (name for name in names if name.endswith(".perplexity") and name[: -len(".perplexity")] in names), ""
    )
    texts = next((name for name in names if f"{name}.bits_per_byte" in names), "")
    if not answers or not texts:
        return ""
    return (
        f"{answers} is over the learned tokens of the held-out rows, cut and templated as for training; {texts} over "
        "all tokens of their whole texts, without a template, read in windows"
    )


def _domains_shown(comparison: Comparison) -> list[DomainLoss]:
    """Where there are more than fit, those first in which some arm is better or worse."""
    told = sorted(comparison.domains, key=lambda each: not any(map(settled, each.cells)))[:DOMAINS]
    return [each for each in comparison.domains if each in told]


def _by_domain(comparison: Comparison, shown: Sequence[DomainLoss]) -> list[Row]:
    """A row an arm, a column a domain."""
    rows = []
    for arm in comparison.arms:
        cells = {each.domain: next((cell for cell in each.cells if cell.arm == arm.name), None) for each in shown}
        if any(cells.values()):
            rows.append({"arm": arm.name} | {name: _loss_and_verdict(cell) for name, cell in cells.items()})
    return rows


def _loss_and_verdict(cell: Cell | None) -> str:
    return "-" if cell is None else f"{cell.interval.mean:.4g} {settled(cell)}".rstrip()


def settled(cell: Cell) -> str:
    """`better`, `worse`, or nothing where neither is shown."""
    return cell.difference.verdict if cell.difference and cell.difference.verdict in ("better", "worse") else ""


def by_domain_said(comparison: Comparison, num_shown: int) -> str:
    """What the figures by domain are, and how many domains are left out."""
    said = "mean held-out loss over seeds"
    differences = [cell.difference for each in comparison.domains for cell in each.cells if cell.difference]
    if differences and all(found.verdict == "not decidable" for found in differences):
        said += "; none is called better or worse, as nothing is known of other seeds"
    elif differences:
        said += f"; better or worse than {comparison.base} where the interval of the difference leaves 0 out"
    if num_shown < (num := len(comparison.domains)):
        said += f"; {num_shown} of {num} domains, first those in which an arm is better or worse: {MORE}"
    return said


def _compute(comparison: Comparison) -> list[Row]:
    base = next((each for each in comparison.compute if each.arm == comparison.base), None)
    return [
        {
            "arm": each.arm,
            "steps": f"{each.steps:,.0f}",
            "tokens": f"{each.tokens:,.0f}",
            "repeats": f"{each.repeats:,.0f}",
            "FLOPs": _flops(each.train_flops),
            "beforehand": _flops(each.label_flops),
            "of base": _ratio(each, base),
            "seconds": f"{each.seconds:.4g}",
            "tokens/s": f"{each.tokens_per_second:,.0f}",
            "peak memory": f"{each.peak_memory_bytes / 2**30:.3g} GiB",
        }
        for each in comparison.compute
    ]


def _flops(flops: float | None) -> str:
    return "-" if flops is None else f"{flops:.3g}"


def _ratio(each: Compute, base: Compute | None) -> str:
    """All that the arm cost, as a share of what the base arm did."""
    if base is None or base.train_flops is None or each.train_flops is None:
        return "-"
    whole = base.train_flops + base.label_flops
    return f"{(each.train_flops + each.label_flops) / whole:.0%}" if whole else "-"


def _marks(comparison: Comparison) -> list[Row]:
    """A row an arm; marks at which no arm was evaluated are left out."""
    progress = comparison.progress
    seen = [i for i in range(len(progress.marks)) if any(arm.at_marks[i] for arm in progress.arms.values())]
    return [
        {"arm": name}
        | {f"{progress.marks[i]:,}": _loss(arm.at_marks[i]) for i in seen}
        | {
            f"tokens to {comparison.base}'s last": _interval(arm.tokens_to_base, form=",.0f"),
            "seconds": _interval(arm.seconds_to_base),
            "tokens saved, %": _interval(arm.saved, sign=True, form=".3g"),
            "reached": arm.reached,
        }
        for name, arm in progress.arms.items()
        if seen
    ]


def _loss(interval: Interval | None) -> str:
    """Without its bounds: eight of them would fill two screens. The report draws them."""
    return "-" if interval is None else f"{interval.mean:.4g}"


def _checks(comparison: Comparison) -> list[Row]:
    return [
        {
            "check": check.check,
            "arm": check.arm,
            "outcome": check.outcome,
            "measured": check.measured,
            "why": check.why,
        }
        for check in comparison.checks
    ]


def _markdown(rows: Sequence[Row]) -> str:
    safe: Callable[[Any], str] = lambda value: str(value).replace("|", "\\|")  # noqa: E731
    head = list(rows[0])
    lines = ["| " + " | ".join(map(safe, head)) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(safe(row[name]) for name in head) + " |" for row in rows)])
