"""`curricle probe`: how hard does each row really turn out to be?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Overrides, RecipePath, integers, show


def probe(
    recipe: RecipePath,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="Where the losses go: .parquet.")],
    folds: Annotated[int, typer.Option("--folds", metavar="N", help="Parts of the rows, a training each.")] = 2,
    arm: Annotated[
        str | None, typer.Option("--arm", metavar="NAME", help="The arm to train; the recipe's first when not given.")
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option("--seeds", metavar="0,1", help="A training each; the recipe's first seed when not given."),
    ] = None,
    overrides: Overrides = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an output that is there already.")] = False,
) -> None:
    """Label each row by its loss under a model of other rows.

    The recipe's rows are split by their ids; for each part its model is trained on the other parts, shuffled, and reads
    this one. For the loss after N steps add --set training.max_steps=N. Stopped half way, the same command goes on.

    \b
    Example:
      curricle probe recipe.yaml -o probe.parquet
      curricle probe recipe.yaml -o probe.parquet --folds 4 --seeds 0,1 --set training.max_steps=200

    In Python: curricle.probe("recipe.yaml", output="probe.parquet", folds=4, seeds=[0, 1])
    """
    from ..experiments.labels.probe import probe as measure

    result = measure(
        recipe, output=output, folds=folds, arm=arm, seeds=integers(seeds), overrides=overrides or [], force=force
    )
    show(result)
