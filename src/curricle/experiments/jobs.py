"""What is left to do in an experiment: a job for each arm and seed, and how far it is.

A folder that holds another recipe's run is refused where something was trained in it. What was only merged is made
again: that loses nothing which the models it is made of do not give back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..difficulty.config import UNDECIDING
from ..errors import RunError
from ..models.config import ModelConfig
from ..models.identity import weights_fingerprint
from ..runtime.files import read_json
from ..runtime.progress import say
from ..training.checkpoints import checkpoints
from .chain import model_folder, needs
from .overrides import differences
from .resolve import Arm, Experiment, measuring_hash, same_training

_NO_OTHER_LABELS = tuple(f"`difficulty.{name}`" for name in UNDECIDING)
_SPREAD = tuple(f"`distributed.{name}" for name in ("enabled", "backend", "fsdp"))
_MAY_CHANGE = (
    *_SPREAD,
    "`evaluation",
    "`data.eval",
    "`generation",
    "`difficulty.analyze`",
    "`difficulty.probe_folds`",
    *_NO_OTHER_LABELS,
)
"""Keys that may change after a run, unless its checkpoint was chosen by them."""
_BEGUN = ("metrics.jsonl", "results.json", "model", "search/search.jsonl", ".model.merging")


@dataclass(frozen=True)
class Job:
    """One arm with one seed, and how far it is."""

    arm: Arm
    seed: int
    folder: Path
    results: dict[str, Any] | None
    """Of a finished run."""
    measures: bool
    """Whether it is to be measured, and is not."""
    forced: bool
    """Whether what is there is thrown away."""

    @property
    def done(self) -> bool:
        return self.results is not None and not self.measures

    def anew(self, measure: bool) -> Job:
        """The same from the start."""
        return replace(self, results=None, measures=measure and bool(self.arm.settings.evaluation), forced=True)


def make_jobs(asked: Experiment, forced: frozenset[str], measure: bool) -> list[Job]:
    """In an order in which each arm comes after those that it needs; `forced` names arms that are thrown away."""
    found: dict[tuple[str, int], Job] = {}
    other: dict[str, str] = {}
    for arm in asked.in_order():
        for seed in asked.seeds:
            job = _job(asked.folder / arm.name / f"seed-{seed}", arm, seed, forced, measure)
            changes = "" if job.forced or not begun(job.folder) else _changes(job)
            if arm.settings.merge is not None and not job.forced:
                job = _merged(job, changes, found, measure)
            elif changes:
                other.setdefault(arm.name, f"{job.folder} holds another recipe: {changes}")
            found[arm.name, seed] = job
    if other:
        how = f"--arms {','.join([*sorted(forced), *other])} --force"
        raise RunError(
            f"{next(iter(other.values()))}; give this one another `name`, or throw the old run away: run with {how}"
        )
    return list(found.values())


def _job(folder: Path, arm: Arm, seed: int, forced: frozenset[str], measure: bool) -> Job:
    results = None
    if arm.name not in forced and begun(folder) and (folder / "results.json").exists():
        results = read_json(folder / "results.json")
    measured = (results or {}).get("measured")
    measures = measure and bool(arm.settings.evaluation) and measured != measuring_hash(arm.settings)
    return Job(arm, seed, folder, results, measures, arm.name in forced)


def begun(folder: Path) -> bool:
    """Whether anything in the folder is worth keeping: a step was taken, a weight tried, a checkpoint or a result
    written."""
    return any((folder / name).exists() for name in _BEGUN) or bool(checkpoints(folder))


def _changes(job: Job) -> str:
    """What the folder's run has otherwise, the first few; nothing where it is of this recipe."""
    held = read_json(job.folder / "arm.json")
    if same_training(held, job.arm):
        return ""
    lines = list(differences(held["settings"], job.arm.settings.model_dump(mode="json")))
    changed = [line for line in lines if not line.startswith(_MAY_CHANGE)] or lines
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    return f"{'; '.join(changed[:3])}{more}" if changed else "the arms that it is made of are others"


def _merged(job: Job, changes: str, before: Mapping[tuple[str, int], Job], measure: bool) -> Job:
    """A merge is made again when it is asked otherwise, or when a model that it is made of is another."""
    reason: str | None = f"the recipe is another: {changes}" if changes else None
    for name in needs(job.arm.settings).values():
        above = before.get((name, job.seed))
        if above is not None and (above.results is None or above.forced):
            reason = reason or f"`{name}` is made anew"
    if reason is None and (other := next(_others(job), None)) is not None:
        reason = f"`{other}` has another model now"
    if reason is None or not begun(job.folder) or job.results is None:
        return job
    say(f"{job.folder}: merged again, as {reason}")
    return job.anew(measure)


def stale(whole: Experiment, made: Iterable[Job]) -> list[str]:
    """Merges of the recipe that are older than what these jobs left, and no job of this call."""
    jobs = {(job.arm.name, job.seed) for job in made}
    found = []
    for arm in whole.arms.values():
        for seed in {seed for _, seed in jobs}:
            merged = Job(arm, seed, whole.folder / arm.name / f"seed-{seed}", None, False, False)
            if arm.settings.merge is not None and (arm.name, seed) not in jobs and any(_others(merged)):
                found.append(arm.name)
    return list(dict.fromkeys(found))


def _others(job: Job) -> Iterator[str]:
    """The arms whose models are not those that were merged. Only files written since are read for it."""
    about = job.folder / "model" / "merge.json"
    if not about.is_file():
        return
    written, experts = about.stat().st_mtime, read_json(about)["experts"]
    for name in needs(job.arm.settings).values():
        model = model_folder(name, job.folder)
        files = list(model.glob("*.safetensors"))
        if files and max(file.stat().st_mtime for file in files) > written:
            now = weights_fingerprint(ModelConfig(name_or_path=str(model)))
            if now != experts.get(name, {}).get("fingerprint"):
                yield name
