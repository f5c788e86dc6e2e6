"""An analysis as text: aligned columns for a terminal, tables for a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..results import render
from .foresee import LINES, is_headline
from .shape import Analysis, ColumnInfo, Foreseen, Foresight, LayersInfo, SampleInfo, Spread
from .words import heading, interval, percent, remarks, summary

Row = dict[str, Any]
READ = 3
"""Examples of each end that are printed."""
LETTERS = 300
"""Of each; the page has more."""
SCORES = 6
"""Of each that are printed."""


def as_text(analysis: Analysis) -> str:
    """For the terminal."""
    parts = [_title(analysis)]
    parts += [f"{title}\n{render(rows)}" for title, rows in tables(analysis)]
    parts += [f"{title}\n" + "\n".join(f"- {line}" for line in lines) for title, lines in _lists(analysis)]
    if analysis.report is not None:
        parts.append(f"report: {analysis.report}")
    return "\n\n".join(parts)


def as_markdown(analysis: Analysis) -> str:
    """For a notebook."""
    parts = [_title(analysis)]
    parts += [f"**{title}**\n\n{_markdown(rows)}" for title, rows in tables(analysis)]
    parts += [f"**{title}**\n\n" + "\n".join(f"- {_safe(line)}" for line in lines) for title, lines in _lists(analysis)]
    return "\n\n".join(parts)


def _title(analysis: Analysis) -> str:
    return f"{analysis.name}: {analysis.num:,} labelled examples"


def tables(analysis: Analysis) -> list[tuple[str, list[Row]]]:
    several = len(analysis.layers) > 1
    found = [("Scores", column_rows(analysis.columns))]
    for layers in analysis.layers:
        found.append((f"Layers{f' of {layers.file}' if several else ''}", layer_rows(layers)))
    found.append(("Agreement (Spearman's rho)", agreement_rows(analysis)))
    if (foresight := analysis.foresight) is not None:
        found.append((heading(foresight, analysis.level), foreseen_rows(foresight)))
        found.append(("The source's lines", line_rows(foresight)))
        found.append(("Against the strongest baseline", paired_rows(foresight)))
    return [(title, rows) for title, rows in found if rows]


def _lists(analysis: Analysis) -> list[tuple[str, list[str]]]:
    ends = analysis.extremes
    shown = _shown(analysis)
    found = [
        (f"Hardest by {ends.by} ({ends.note})", [_sample(sample, shown) for sample in ends.hardest[:READ]]),
        (f"Easiest by {ends.by}", [_sample(sample, shown) for sample in ends.easiest[:READ]]),
        ("In short", summary(analysis)),
        ("Mind", remarks(analysis)),
    ]
    return [(title, lines) for title, lines in found if lines]


# ---- tables ---------------------------------------------------------------------------------------------------------


def column_rows(columns: Sequence[ColumnInfo]) -> list[Row]:
    return [
        {"score": column.name, "kind": column.kind, "examples": column.spread.num, "unknown": column.spread.unknown}
        | _spread(column.spread)
        | {"skew": f"{column.spread.skew:+.2f}"}
        for column in columns
    ]


def _spread(of: Spread) -> Row:
    return {"mean": _mean(of), "5%": of.quantiles["0.05"], "median": of.quantiles["0.5"], "95%": of.quantiles["0.95"]}


def _mean(of: Spread) -> float:
    """A mean that is 0 but for rounding, as that of what was standardised, is 0."""
    return 0.0 if abs(of.mean) < 1e-6 * of.sd else of.mean


def layer_rows(layers: LayersInfo) -> list[Row]:
    rows = []
    for layer in layers.layers:
        scaled = layer.standardised.quantiles
        row = {"layer": layer.layer, **_spread(layer.raw)}
        row["standardised 5%, 95%"] = f"{scaled['0.05']:+.2f}, {scaled['0.95']:+.2f}"
        row["differs most in"] = f"{layer.largest_in:.0%}"
        if layer.rho is not None:
            row["rho with the target"] = interval(layer.rho)
        rows.append(row)
    return rows


def agreement_rows(analysis: Analysis) -> list[Row]:
    """Columns by number, as their names would fill two screens."""
    found = []
    for i, (name, row) in enumerate(zip(analysis.agreement.names, analysis.agreement.rho, strict=True), start=1):
        cells = {str(j): "-" if rho is None else f"{rho:z.2f}" for j, rho in enumerate(row, start=1)}
        found.append({"": f"{i} {name}", **cells})
    return found


def foreseen_rows(foresight: Foresight) -> list[Row]:
    return [_foreseen(column) for column in foresight.columns]


def _foreseen(column: Foreseen) -> Row:
    return {
        "score": column.column,
        "kind": column.kind,
        "examples": column.num,
        "rho": interval(column.rho),
        "given length": interval(column.partial),
        "AUC": interval(column.auc),
        "accuracy": percent(column.accuracy),
        "by chance": "-" if column.chance is None else f"{column.chance:.1%}",
    }


def line_rows(foresight: Foresight) -> list[Row]:
    return [
        {"score": column.column, "kind": column.kind} | {line: column.lines.get(line, "-") for line in LINES}
        for column in foresight.columns
    ]


def paired_rows(foresight: Foresight) -> list[Row]:
    return [
        {
            "score": pair.column,
            "baseline": pair.baseline,
            "examples": pair.num,
            "difference of |rho|": interval(pair.difference, sign=True),
            "verdict": pair.verdict,
        }
        for pair in foresight.paired
    ]


# ---- examples -------------------------------------------------------------------------------------------------------


def _shown(analysis: Analysis) -> list[str]:
    """The scores that are printed with an example: what it was chosen by and the target, then the first of the rest."""
    target = [] if analysis.foresight is None else [analysis.foresight.target]
    rest = [column.name for column in analysis.columns if column.kind != "meta token" or is_headline(column.name)]
    names = [analysis.extremes.by, *target, *rest]
    return list(dict.fromkeys(names))[:SCORES]


def _sample(sample: SampleInfo, shown: Sequence[str]) -> str:
    values = {name: sample.scores.get(name) for name in shown}
    scores = ", ".join(f"{name} {'-' if value is None else f'{value:.3g}'}" for name, value in values.items())
    said = " | ".join(f"{who}: {' '.join(text.split())}" for who, text in sample.text)
    said = said if len(said) <= LETTERS else f"{said[:LETTERS]}…"
    return f"{sample.id}: {scores}" + (f"\n  {said}" if said else "")


def _markdown(rows: Sequence[Row]) -> str:
    head = list(rows[0])
    lines = ["| " + " | ".join(map(_safe, head)) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(_safe(cell(row[name])) for name in head) + " |" for row in rows)])


def cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _safe(text: Any) -> str:
    """What a notebook would read as marks or as HTML is only text."""
    said = str(text)
    for letter in "\\`*_<>|[]":
        said = said.replace(letter, f"\\{letter}")
    return said
