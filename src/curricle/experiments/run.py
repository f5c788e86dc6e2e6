"""Arms x seeds, carried out. A run found half done goes on; a finished one stays as it is; nothing is run twice."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import RunError
from ..runtime.files import read_json, write_json, write_text
from ..runtime.progress import say
from ..runtime.ranks import barrier, is_main, join
from ..runtime.rundir import hold
from .environment import environment
from .overrides import differences
from .plan import Plan, plan_experiment
from .recipe import Recipe
from .resolve import Arm, Experiment, resolve
from .results import Result, RunResult
from .smoke import Smoke, smoke_experiment

AnyRecipe = str | Path | Mapping[str, Any] | Recipe

RUNS = Path("runs")


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
    return _carry_out(resolve(recipe, overrides).select(arms, seeds), plan, smoke, force, measure=True)


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
    return _carry_out(resolve(recipe, overrides).select(arms, seeds), plan, smoke, force, measure=False)


def _carry_out(experiment: Experiment, plan: bool, smoke: bool, force: bool, measure: bool) -> Result | Plan | Smoke:
    if plan:
        return plan_experiment(experiment)
    if smoke:
        return smoke_experiment(experiment)
    join(experiment.base.distributed.backend)
    folder = RUNS / experiment.name
    with hold(folder):
        for arm in experiment.arms.values():
            for seed in experiment.seeds:
                _claim(folder / arm.name / f"seed-{seed}", arm, force)
        if is_main():
            write_text(folder / "recipe.yaml", experiment.dump())
            write_json(folder / "environment.json", environment())
        barrier()
        runs = [
            _one(folder / arm.name / f"seed-{seed}", arm, seed, measure)
            for arm in experiment.arms.values()
            for seed in experiment.seeds
        ]
        result = Result(experiment.name, folder, runs)
        if is_main() and measure:
            write_json(folder / "comparison.json", {"name": experiment.name, "runs": result.table()})
        return result


def _claim(folder: Path, arm: Arm, force: bool) -> None:
    """Make the folder this arm's, or say what else it holds. All folders are claimed before anything is trained."""
    barrier()
    about = {"arm": arm.name, "hash": arm.hash, "settings": arm.settings.model_dump(mode="json")}
    if force and folder.exists() and is_main():
        shutil.rmtree(folder)
    barrier()
    if (folder / "arm.json").exists():
        held = read_json(folder / "arm.json")
        if held["hash"] != arm.hash:
            changed = list(differences(held["settings"], about["settings"]))
            more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
            raise RunError(
                f"{folder} holds another recipe: {'; '.join(changed[:3])}{more}; give this one another `name`, or run "
                "with --force to throw the old one away"
            )
    elif is_main():
        write_json(folder / "arm.json", about)
    barrier()


def _one(folder: Path, arm: Arm, seed: int, measure: bool) -> RunResult:
    """One arm with one seed, trained if it is not, measured if that is asked."""
    done = folder / "results.json"
    results = read_json(done) if done.exists() else None
    measured = results is not None and "eval_loss" in results
    if results is not None and (measured or not measure or not arm.settings.evaluation):
        say(f"{folder}: finished before; --force runs it again")
        return RunResult(arm.name, seed, folder, results)
    # Imported here: what comes next needs torch and transformers, and all that could be refused has been.
    from .one import measure_run, train_run

    if results is None:
        say(f"{folder}: training")
        results = train_run(arm, seed, folder)
    if measure and arm.settings.evaluation:
        results |= measure_run(arm, seed, folder)
    if is_main():
        write_json(done, results)
    barrier()
    return RunResult(arm.name, seed, folder, results)
