"""Everything the two pages show, gathered once."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ...runtime.files import read_json
from ..comparison.render import by_domain_said, perplexities_said
from ..comparison.shape import Comparison
from . import charts, tables
from .curves import colour, key
from .foreign import foreign_answers
from .histories import histories
from .samples import Samples, packed, read_samples
from .words import decimals_for, flat, percent, plural, setting, summary

FIRST = 5
"""Examples that are in the pages as plain text: all there is without JavaScript, and what Markdown shows."""

MAX_FINDINGS = 50
"""Answers in a foreign script that are listed."""
FACTS = ("command", "recipe_hash", "git", "when", "written", "date")
"""Of the provenance, what everybody wants to see; the rest can be opened."""


def gather(comparison: Comparison, folder: Path) -> dict[str, Any]:
    """By name, for both templates."""
    runs = histories(comparison, folder)
    samples = read_samples(comparison, folder)
    numbers = charts.arm_numbers(comparison)
    base_and_others = len(comparison.arms) > 1
    facts, more_facts = _facts(comparison, folder)
    text, num_packed = packed(samples)
    page = {
        "comparison": comparison,
        "summary": summary(comparison),
        "setting": setting(comparison),
        "percent": percent(comparison),
        "others": base_and_others,
        "numbers": numbers,
        "keys": {name: Markup(key(number)) for name, number in numbers.items()},
        "colours": {name: colour(number) for name, number in numbers.items()},
        "decimals": {metric.name: decimals_for(comparison, metric.name) for metric in comparison.metrics},
        "seeds": tables.seeds_table(comparison),
        "differing": tables.differing_rows(comparison),
        "arm_lines": tables.arm_lines(comparison),
        "compute": tables.compute_table(comparison),
        "reached": tables.reached_table(comparison) if base_and_others else None,
        "marks": tables.marks_table(comparison),
        "perplexities": perplexities_said(comparison),
        "domains": tables.domain_table(comparison),
        "domains_said": by_domain_said(comparison, len(comparison.domains)),
        "charts": charts.curve_charts(comparison, runs),
        "panels": charts.panels(comparison),
        "foreign": foreign_answers(comparison, samples, folder),
        "samples": samples,
        "samples_said": _samples_said(samples, num_packed),
        "packed": text,
        "facts": facts,
        "more_facts": more_facts,
        "runs": tables.Table(
            ["run", "folder"], [[f"{run['arm']}, seed {run['seed']}", str(run["folder"])] for run in comparison.runs]
        ),
        "recipe": _recipe(folder),
        "version": version("curricle"),
        "FIRST": FIRST,
        "MAX_FINDINGS": MAX_FINDINGS,
    }
    return page | {"parts": _parts(page)}


def _parts(page: Mapping[str, Any]) -> list[tuple[str, str]]:
    comparison: Comparison = page["comparison"]
    parts = [
        ("results", "Results", comparison.metrics),
        ("domains", "By domain", page["domains"]),
        ("checks", "Checks", comparison.checks),
        ("open", "Not concluded", comparison.open_questions),
        ("arms", "What differs", True),
        ("compute", "Cost", page["compute"]),
        ("charts", "Charts", page["charts"] or page["panels"]),
        ("samples", "Side by side", page["samples"].examples),
        ("provenance", "Where it comes from", True),
    ]
    return [(name, title) for name, title, there in parts if there]


def _samples_said(samples: Samples, num_packed: int) -> str:
    num = len(samples.examples)
    said = f"{plural(num, 'example')}, each with the answers of {plural(len(samples.runs), 'run')}."
    if num_packed < num:
        said += (
            f" To keep the page small it holds {num_packed} of them, "
            f"{f'whose arms differ most in {samples.figures[0][0]}' if samples.figures else 'the first ones'}. "
            "All are in the runs' samples_eval.jsonl."
        )
    if samples.missing:
        said += f" Without answers: {'; '.join(samples.missing)}."
    return said


def _facts(comparison: Comparison, folder: Path) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Name and value; what the experiment's environment.json knows beyond the comparison comes after it."""
    known = dict(comparison.provenance)
    path = folder / "environment.json"
    if path.exists():
        known = {**read_json(path), **known}
    if isinstance(command := known.get("command"), list):
        known["command"] = " ".join(map(str, command))
    first = {name: known[name] for name in FACTS if known.get(name) is not None}
    rest = {name: value for name, value in known.items() if name not in FACTS}
    return flat(first), flat(rest)


def _recipe(folder: Path) -> str:
    path = folder / "recipe.yaml"
    return path.read_text(encoding="utf-8") if path.exists() else ""
