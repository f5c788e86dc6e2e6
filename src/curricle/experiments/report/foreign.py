"""Which answers have letters of a script that nobody allowed, and which letters: read again from the answers, by the
allow list of the arm's own recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...evaluation.config import ForeignScript
from ...evaluation.scripts import offenders
from ...runtime.files import read_json
from ..comparison.shape import Comparison
from .samples import Samples
from .tables import Table


@dataclass(frozen=True)
class Finding:
    run: str
    id: str
    letters: str
    answer: str


@dataclass(frozen=True)
class Foreign:
    """One measurement's findings; `counts` has every run, those without any too."""

    label: str
    counts: Table
    findings: list[Finding] = field(default_factory=list)


def foreign_answers(comparison: Comparison, samples: Samples, folder: Path) -> list[Foreign]:
    """A part for each foreign-script measurement of the recipes, by its label."""
    found: dict[str, Foreign] = {}
    folders = {(run["arm"], run["seed"]): folder / run["folder"] for run in comparison.runs}
    for i, (arm, seed) in enumerate(samples.runs):
        answers = {e.id: a.prediction for e in samples.examples for a in e.answers if a.run == i}
        for entry in _entries(folders[arm, seed]):
            part = found.setdefault(entry.label, Foreign(entry.label, Table(["run", "answers", "share"], [])))
            bad = offenders(list(answers.values()), list(answers), allow=entry.allow, ignore=entry.ignore)
            name = f"{arm}, seed {seed}"
            part.counts.rows.append([name, str(len(bad)), f"{100 * len(bad) / max(1, len(answers)):.1f}%"])
            part.findings.extend(Finding(name, one.id, one.characters, answers[one.id]) for one in bad)
    return list(found.values())


def _entries(run: Path) -> list[ForeignScript]:
    """What the arm's recipe asked to be measured of this kind."""
    path = run / "arm.json"
    settings: dict[str, Any] = read_json(path)["settings"] if path.exists() else {}
    entries = settings.get("evaluation") or []
    return [ForeignScript.model_validate(entry) for entry in entries if entry.get("metric") == "foreign_script"]
