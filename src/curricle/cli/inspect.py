"""`curricle inspect`: look at what a recipe would train on, before it trains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Overrides, RecipePath, help_when_bare

group = typer.Typer(invoke_without_command=True, rich_markup_mode=None)

Rows = Annotated[int, typer.Option("--rows", min=1, metavar="N", help="How many to show.")]
Arm = Annotated[
    str | None, typer.Option("--arm", metavar="X", help="The arm to look at; the first one when not given.")
]
Course = Annotated[Path, typer.Argument(metavar="RECIPE|RUN", help="A recipe, or the folder of a run.")]


@group.callback()
def inspect(context: typer.Context) -> None:
    """Look at what a recipe would train on.

    \b
    Example:
      curricle inspect masks recipe.yaml
      curricle inspect packing recipe.yaml
    """
    help_when_bare(context)


@group.command()
def masks(recipe: RecipePath, rows: Rows = 3, overrides: Overrides = None, arm: Arm = None) -> None:
    """Show prompt and target in two colours, with token ids.

    \b
    Example:
      curricle inspect masks recipe.yaml --rows 5

    In Python: curricle.experiments.inspect.masks("recipe.yaml", rows=5)
    """
    from ..experiments.inspect import masks as look

    typer.echo(look(recipe, rows=rows, overrides=overrides or [], arm=arm))


@group.command()
def packing(recipe: RecipePath, rows: Rows = 10, overrides: Overrides = None, arm: Arm = None) -> None:
    """Show how examples share rows, and how full rows are.

    \b
    Example:
      curricle inspect packing recipe.yaml --set data.lookahead=64

    In Python: curricle.experiments.inspect.packing("recipe.yaml", overrides=["data.lookahead=64"])
    """
    from ..experiments.inspect import packing as look

    typer.echo(str(look(recipe, rows=rows, overrides=overrides or [], arm=arm)))


@group.command()
def order(recipe: Course, rows: Rows = 10, overrides: Overrides = None, arm: Arm = None) -> None:
    """Show which examples come when: planned or as trained.

    Of a recipe: the examples of the first rows, with their steps, and which come again. Of a run's folder: what
    the run did over its tokens: admitted share, difficulty, repeats, loss, layers that learned.

    \b
    Example:
      curricle inspect order recipe.yaml --rows 20
      curricle inspect order runs/quickstart

    In Python: curricle.experiments.inspect.order("recipe.yaml", rows=20)
    """
    if recipe.is_dir():
        from ..experiments.course import courses

        typer.echo("\n\n".join(str(course) for course in courses(recipe, max(rows, 2), arm)))
        return
    from ..experiments.inspect import order as look

    typer.echo(str(look(recipe, rows=rows, overrides=overrides or [], arm=arm)))


@group.command()
def data(recipe: RecipePath, overrides: Overrides = None, arm: Arm = None) -> None:
    """Show rows, lengths, near-duplicates and overlap.

    Overlap means training examples that come back, whole or nearly so, in the held-out ones.

    \b
    Example:
      curricle inspect data recipe.yaml

    In Python: curricle.experiments.inspect.data("recipe.yaml")
    """
    from ..experiments.inspect import data as look

    typer.echo(str(look(recipe, overrides=overrides or [], arm=arm)))
