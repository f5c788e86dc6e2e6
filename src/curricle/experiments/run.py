"""Arms x seeds, carried out. A run found half done goes on; a finished one stays as it is; nothing is run twice."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CurricleError
from ..runtime.files import read_json, write_json, write_text
from ..runtime.progress import say
from ..runtime.ranks import barrier, is_main, world_size
from ..runtime.rundir import hold
from .chain import model_folder, needs
from .environment import environment
from .jobs import Job, begun, make_jobs, stale
from .labels.making import FOLDER as LABELS
from .labels.making import before_labels, labelled, request
from .looking import foreseen, kept, look_into
from .meeting import meet
from .resolve import AnyRecipe, Arm, Experiment, resolve, same_training
from .results import Result, RunResult
from .share.outputs import write_outputs
from .tracking.following import tell_finished

if TYPE_CHECKING:
    from .comparison.shape import Comparison
    from .material import Material
    from .plan import Plan
    from .smoke import Smoke


def run(
    recipe: AnyRecipe,
    overrides: Sequence[str] = (),
    arms: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    plan: bool = False,
    smoke: bool = False,
    force: bool = False,
) -> Result | Plan | Smoke:
    """Run a recipe: every arm with every seed, into `runs/<name>/<arm>/seed-<k>/`, then measure.

    >>> result = curricle.run("recipes/quickstart.yaml", overrides=["training.max_steps=20"])   # doctest: +SKIP
    """
    whole = resolve(recipe, overrides)
    return _carry_out(whole, whole.select(arms, seeds), plan, smoke, _forced(whole, arms, force), measure=True)


def train(
    recipe: AnyRecipe,
    overrides: Sequence[str] = (),
    arms: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    plan: bool = False,
    smoke: bool = False,
    force: bool = False,
) -> Result | Plan | Smoke:
    """Train the arms and seeds of a recipe; a later `run` measures them without training again."""
    whole = resolve(recipe, overrides)
    return _carry_out(whole, whole.select(arms, seeds), plan, smoke, _forced(whole, arms, force), measure=False)


def _forced(whole: Experiment, arms: Sequence[str] | None, force: bool) -> frozenset[str]:
    """The arms that are thrown away and run again: those that were named, not what they need."""
    return frozenset((whole.arms if arms is None else arms) if force else ())


def _carry_out(
    whole: Experiment, asked: Experiment, plan: bool, smoke: bool, forced: frozenset[str], measure: bool
) -> Result | Plan | Smoke:
    """`whole` is the recipe, `asked` the arms and seeds of it that this call is for."""
    if plan:
        from .plan import plan_experiment

        return plan_experiment(asked)
    meet(*(arm.settings for arm in asked.arms.values()))
    if smoke:
        from .smoke import smoke_experiment

        return smoke_experiment(asked)
    folder = asked.folder
    with hold(folder):
        jobs = make_jobs(asked, forced, measure)
        materials = _look_ahead(whole, jobs, bool(forced))
        barrier()
        if materials and is_main():
            _clear(jobs, force=True)
            write_text(folder / "recipe.yaml", whole.dump())
            write_json(folder / "environment.json", environment())
        barrier()
        try:
            result = Result(asked.name, folder, [_one(job, materials.get(job.arm.name)) for job in jobs])
        except CurricleError:
            if is_main():
                _tidy(folder, jobs)
            raise
        if is_main() and measure:
            result = replace(result, comparison=_compare(whole, folder))
            write_outputs(list(asked.arms.values()), folder, result)
        if is_main() and (old := stale(whole, jobs)):
            say(f"{', '.join(old)}: merged of models that are others now; the next run of the recipe merges them again")
        tell_finished([(job.folder, job.arm.settings.training) for job in jobs])
        return result


def _look_ahead(whole: Experiment, jobs: list[Job], force: bool) -> dict[str, Material]:
    """What each arm with something left to do trains on, labels that its run makes included. All that can be refused
    without loading a model is refused here, for every arm, before anything else is written. An analysis that was asked
    for since is made of the labels of finished arms too."""
    waiting = {job.arm.name: job.arm for job in jobs if not job.done}
    finished = [job.arm for job in jobs if job.arm.name not in waiting]
    if not waiting:
        look_into(foreseen(whole, kept(finished, whole.folder)))
        return {}
    # Imported here: what comes next needs torch and transformers.
    from .assemble import look_ahead
    from .material import gather

    materials = {name: gather(arm.settings) for name, arm in waiting.items()}
    for line in dict.fromkeys(line for material in materials.values() for line in material.remarks()):
        say(line)
    left = [job for job in jobs if not job.done]
    requests = {name: request(arm.settings, whole.folder) for name, arm in waiting.items()}
    looks = foreseen(whole, [*requests.items(), *kept(finished, whole.folder)])
    for job in left:
        asked = requests[job.arm.name]
        if asked is not None and not asked.there:  # making them may take hours
            look_ahead(before_labels(materials[job.arm.name]), job.seed, job.folder)
    materials = {name: labelled(material, requests[name]) for name, material in materials.items()}
    for job in left:
        look_ahead(materials[job.arm.name], job.seed, job.folder)
    look_into(looks, force)
    return materials


def _clear(jobs: list[Job], force: bool) -> None:
    """Throw away what is to be run again, and what a try left behind that ended before its first step."""
    for job in jobs:
        if (force and job.forced) or not begun(job.folder):
            shutil.rmtree(job.folder, ignore_errors=True)


def _tidy(folder: Path, jobs: list[Job]) -> None:
    """After a refusal that came late, nothing stays of a run that took no step."""
    _clear(jobs, force=False)
    for arm_folder in {job.folder.parent for job in jobs}:
        if arm_folder.is_dir() and not any(arm_folder.iterdir()):
            arm_folder.rmdir()
    if not any(path.is_dir() and path.name != LABELS for path in folder.iterdir()):
        for name in ("recipe.yaml", "environment.json"):
            (folder / name).unlink()


def _one(job: Job, material: Material | None) -> RunResult:
    """Trained if it is not, measured if that is asked."""
    arm, folder, results = job.arm, job.folder, job.results
    if material is None or job.done:
        changed = _changed_since(job)
        say(f"{folder}: finished before{f', on another {changed}' if changed else ''}; --force runs it again")
        return RunResult(arm.name, job.seed, folder, results or {})
    from .measuring import measure_run
    from .one import about_rows

    if is_main():  # of a finished run too: it is measured by the `evaluation` and `generation` of now
        about = {
            "arm": arm.name,
            "hash": arm.hash,
            "start": arm.start,
            "settings": arm.settings.model_dump(mode="json"),
        }
        begun = read_json(folder / "arm.json") if (folder / "arm.json").exists() else {}
        about["world_size"] = begun.get("world_size", world_size())  # what a step's rows were dealt out to at first
        write_json(folder / "arm.json", about)
    if results is None:
        results = _made(job, material)
    if job.measures:
        if is_main():  # a run that is killed while it is measured is not trained again
            write_json(folder / "results.json", results)
        results |= measure_run(material, job.seed, folder)
        results["data"]["eval"] = about_rows(material.eval)
    if is_main():
        write_json(folder / "results.json", results)
    barrier()
    return RunResult(arm.name, job.seed, folder, results)


def _made(job: Job, material: Material) -> dict[str, Any]:
    """The model of a run, trained, merged or left as it is, and its books."""
    from .one import train_run, untouched_run

    arm, folder = job.arm, job.folder
    if arm.settings.merge is not None:
        from .share.merged import merged_run

        say(f"{folder}: merging {', '.join(arm.settings.merge.arms)}")
        return merged_run(arm, material, job.seed, folder)
    if arm.settings.trains:
        say(f"{folder}: training")
        return train_run(arm, material, job.seed, folder)
    say(f"{folder}: the model as it is")
    return untouched_run(arm, material, job.seed)


def _changed_since(job: Job) -> str | None:
    """A file of rows or labels, or the model of another arm, that was written after the run had finished."""
    finished = (job.folder / "results.json").stat().st_mtime
    settings = job.arm.settings
    paths = [Path(source.path) for which in ("train", "eval") for source in settings.data.sources(which)]
    if settings.label_file is not None:
        paths.append(Path(settings.label_file))
    made_of = {str(path): path for path in paths if path.is_file()}
    for arm in needs(settings).values():
        if (path := model_folder(arm, job.folder)).is_dir():
            made_of[f"model of arm `{arm}`"] = path
    return next((what for what, path in made_of.items() if path.stat().st_mtime > finished), None)


def _compare(whole: Experiment, folder: Path) -> Comparison | None:
    """Every finished run of the recipe, those of earlier calls too: compared, and written down for people and tools."""
    from .comparison.build import build_comparison
    from .comparison.checks import judge
    from .comparison.facts import read_arm
    from .report.write import write_report

    finished = {arm.name: _finished_seeds(folder / arm.name, arm) for arm in whole.arms.values()}
    arms = [read_arm(folder / name, seeds=seeds) for name, seeds in finished.items() if seeds]
    if not arms:
        return None
    config = whole.comparison
    if config.base not in (None, *(arm.name for arm in arms)):
        say(f"comparison.base is {config.base}, which has no finished run yet; compared with {arms[0].name}")
        config = config.model_copy(update={"base": None})
    checks = judge(whole.parsed_checks(), arms, config)
    comparison = replace(build_comparison(whole.name, folder, arms, config), checks=checks)
    write_json(folder / "comparison.json", comparison.as_dict())
    write_report(comparison, folder)
    return comparison


def _finished_seeds(folder: Path, arm: Arm) -> list[int]:
    """Of an arm as the recipe has it now."""
    runs = [path.parent for path in folder.glob("seed-*/results.json")]
    return sorted(
        read_json(run / "results.json")["seed"] for run in runs if same_training(read_json(run / "arm.json"), arm)
    )
