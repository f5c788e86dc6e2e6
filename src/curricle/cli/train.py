"""`curricle run` and `curricle train`: a recipe, carried out."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import Overrides, RecipePath, integers, names, show

Arms = Annotated[str | None, typer.Option(metavar="X,Y", help="Only these arms of the recipe.")]
Seeds = Annotated[str | None, typer.Option(metavar="0,1", help="These seeds in place of the recipe's.")]
Plan = Annotated[
    bool,
    typer.Option("--plan", help="Print arms, steps, tokens, packing, repeats and memory; train nothing."),
]
Smoke = Annotated[bool, typer.Option("--smoke", help="One step of everything, at the longest row.")]
Presets = Annotated[
    str | None,
    typer.Option(
        "--preset", metavar="X,Y", help="Take on these presets: local-light, micro-model, or the recipe's own."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Run again what is finished already, from the start.")]


def run(
    recipe: RecipePath,
    overrides: Overrides = None,
    arms: Arms = None,
    seeds: Seeds = None,
    plan: Plan = False,
    smoke: Smoke = False,
    force: Force = False,
    presets: Presets = None,
) -> None:
    """Run a recipe: train every arm and seed, then measure.

    A run found half done goes on from its last checkpoint; a finished one is not run again unless --force is given.

    \b
    Example:
      curricle run recipes/quickstart.yaml --plan
      curricle run recipes/quickstart.yaml
      curricle run recipes/quickstart.yaml --set training.learning_rate=1e-4 --seeds 0,1
      curricle run recipes/code/contest.yaml --preset local-light,micro-model

    In Python: curricle.run("recipes/quickstart.yaml", overrides=["training.learning_rate=1e-4"], seeds=[0, 1])
    """
    from ..experiments.run import run as run_recipe

    result = run_recipe(
        recipe,
        overrides=_with(overrides, presets),
        arms=names(arms),
        seeds=integers(seeds),
        plan=plan,
        smoke=smoke,
        force=force,
    )
    show(result)


def train(
    recipe: RecipePath,
    overrides: Overrides = None,
    arms: Arms = None,
    seeds: Seeds = None,
    plan: Plan = False,
    smoke: Smoke = False,
    force: Force = False,
    presets: Presets = None,
) -> None:
    """Train the arms and seeds of a recipe; measure nothing.

    \b
    Example:
      curricle train recipes/quickstart.yaml --seeds 0
      torchrun --nproc-per-node 2 -m curricle train recipes/quickstart.yaml

    In Python: curricle.train("recipes/quickstart.yaml", seeds=[0])
    """
    from ..experiments.run import train as train_recipe

    result = train_recipe(
        recipe,
        overrides=_with(overrides, presets),
        arms=names(arms),
        seeds=integers(seeds),
        plan=plan,
        smoke=smoke,
        force=force,
    )
    show(result)


def _with(overrides: list[str] | None, presets: str | None) -> list[str]:
    """Presets are a key of the recipe like any other."""
    return [*(overrides or []), *([f"preset=[{presets}]"] if presets else [])]
