"""The two halves of pass@k, writing and running, each going on where it was stopped, and the figures that come of them.

DIR/completions.jsonl    what was written, a line a completion
DIR/verdicts.jsonl       what came of running it, a line a completion
DIR/results.json         the figures, each problem's value, and all that they depend on
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...evaluation.measure import Measured
from ...evaluation.passk import Counts, pass_scores
from ...evaluation.score import Score
from ...generation.answers import SPECULATION, speculation_of
from ...runtime.files import read_json, sha256_file, write_json
from ...runtime.progress import counted, say
from ...runtime.ranks import barrier, is_main, shared
from ..evaluated import Evaluation
from ..results import render
from .answers import Completion, read_completions, write_completions
from .problems import Problems
from .runs import Bounds, Judged, judge

if TYPE_CHECKING:
    from ...data.rows import Rows
    from .answers import Writer

COMPLETIONS, VERDICTS, RESULTS = "completions.jsonl", "verdicts.jsonl", "results.json"


@dataclass(frozen=True)
class CodeEvaluation(Evaluation):
    """The figures of one task; prints itself as a table, with the outcomes below it."""

    task: dict[str, Any] = field(default_factory=dict)
    """n, k, temperature, seed, limits, layers of the sandbox, stop texts, rules, outcomes."""
    verdicts: list[Judged] = field(default_factory=list, repr=False)
    folder: Path | None = None
    """Where its files are, when they are kept."""

    def as_dict(self) -> dict[str, Any]:
        return super().as_dict() | {"task": self.task}

    def __str__(self) -> str:
        place = f"\nin {self.folder}" if self.folder is not None else ""
        if "outcomes" not in self.task:
            return f"{render(self.table())}\n\nwritten, and not run{place}"
        found = ", ".join(f"{outcome} {number:,}" for outcome, number in self.task["outcomes"].items())
        programs = counted(len(self.verdicts), "program")
        return f"{render(self.table())}\n\n{programs} for {counted(len(self.measured.ids), 'problem')}: {found}{place}"


@dataclass(frozen=True)
class Written:
    """What there is to run, and how it came about."""

    completions: list[Completion]
    about: dict[str, Any]
    """What a model was asked with; of a file of completions, its path and hash."""
    notes: list[str] = field(default_factory=list)
    likelihood: list[Score] = field(default_factory=list)
    """How likely a model finds the reference solutions."""


def write_all(writer: Writer, problems: Problems, rows: Rows, folder: Path) -> Written:
    """The completions of a model, made or found in the folder, and how likely it finds the reference solutions."""
    completions, drafted = _completions(writer, problems, folder)
    unfinished = sum(one.finished is False for one in completions)
    notes = [f"answers cut at their longest before they ended: {unfinished:,}"] if unfinished else []
    likelihood = writer.reference_scores(rows)
    return Written(completions, writer.about() | drafted, [*writer.prompts.notes, *notes], likelihood)


def _completions(writer: Writer, problems: Problems, folder: Path) -> tuple[list[Completion], dict[str, Any]]:
    """Made anew only where the same would not be made again; and how drafts fared, where the model drafted."""
    path, samples = folder / COMPLETIONS, folder / ".samples.jsonl"
    meta, key = path.with_suffix(".meta.json"), writer.fingerprint()
    if shared(_stands(path, meta, key)):
        say(f"{path}: these completions are there already")
        about = read_json(meta).get(SPECULATION)
        return read_completions(path, problems)[0], {SPECULATION: about} if about else {}
    completions = writer.write(samples)
    about = shared(speculation_of(samples) if is_main() else None)
    drafted = {SPECULATION: about} if about else {}
    if is_main():
        write_completions(path, completions)
        write_json(meta, writer.about() | drafted | {"fingerprint": key, "sha256": sha256_file(path)})
        for scratch in (samples, samples.with_suffix(".meta.json")):
            scratch.unlink(missing_ok=True)
    barrier()
    return completions, drafted


def _stands(path: Path, meta: Path, key: str) -> bool:
    if not (path.exists() and meta.exists()):
        return False
    about = read_json(meta)
    return bool(about["fingerprint"] == key and about["sha256"] == sha256_file(path))


def run_all(
    what: str, problems: Problems, ks: Sequence[int], written: Written, bounds: Bounds, folder: Path | None
) -> CodeEvaluation:
    """Verdicts on all that was written, and what they come to; the files are kept where there is a folder."""
    _figures(problems, ks, Counter(one.task_id for one in written.completions), Counter())  # too few samples for a k?
    verdicts: list[Judged] = []
    if is_main():
        verdicts = judge(problems.by_id, written.completions, bounds, folder / VERDICTS if folder else None)
    verdicts = shared(verdicts)
    samples = Counter(judged.task_id for judged in verdicts)
    scores = _figures(problems, ks, samples, Counter(judged.task_id for judged in verdicts if judged.passed))
    task = {
        "name": problems.name,
        "problems": {"path": problems.path, "sha256": problems.sha256, "number": len(problems)},
        "k": list(ks),
        "samples": sorted(set(samples.values())),
        **written.about,
        "limits": asdict(bounds.limits),
        "sandbox": bounds.layers,
        "unsafe_execution": bounds.unsafe,
        "outcomes": _tally(judged.outcome for judged in verdicts),
        "rules": _tally(judged.rule for judged in verdicts),
    }
    measured = Measured(list(problems.by_id), {score.name: score for score in (*scores, *written.likelihood)})
    files = [{"path": problems.path, "sha256": problems.sha256}]
    result = CodeEvaluation(what, measured, files, written.notes, task, verdicts, folder)
    if folder is not None and is_main():
        write_json(folder / RESULTS, result.as_dict())
    return result


def not_run(what: str, problems: Problems, written: Written, folder: Path | None) -> CodeEvaluation:
    """What was written, and how likely the reference solutions are."""
    measured = Measured(list(problems.by_id), {score.name: score for score in written.likelihood})
    files = [{"path": problems.path, "sha256": problems.sha256}]
    return CodeEvaluation(what, measured, files, written.notes, {"name": problems.name, **written.about}, folder=folder)


def _figures(problems: Problems, ks: Sequence[int], samples: Counter[str], right: Counter[str]) -> list[Score]:
    """A problem without any sample counts as not solved with as many as are needed."""
    ids = list(problems.by_id)
    return pass_scores(Counts(ids, [samples[id_] or max(ks) for id_ in ids], [right[id_] for id_ in ids]), ks)


def _tally(names: Iterable[str]) -> dict[str, int]:
    """How many of each, the commonest first."""
    return dict(Counter(names).most_common())
