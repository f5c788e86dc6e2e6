"""`curricle init` and `curricle schema`: help with writing a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Output = Annotated[Path | None, typer.Option("-o", "--output", help="Write here; standard output when not given.")]


def init(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A data file: JSONL, JSON, CSV or Parquet.")],
    output: Output = None,
) -> None:
    """Look at a data file and write a recipe for it.

    The recipe is complete and commented: run it as it is, or change what you know better.

    \b
    Example:
      curricle init data/train.jsonl -o recipe.yaml

    In Python: curricle.experiments.init.init("data/train.jsonl", "recipe.yaml")
    """
    from ..experiments.init import init as write_recipe

    text = write_recipe(data, output)
    typer.echo(text.rstrip() if output is None else f"wrote {output}")


def schema(output: Output = None) -> None:
    """Print the JSON schema of recipes, for editors.

    With it an editor completes keys, shows their help and marks what is not allowed.

    \b
    Example:
      curricle schema -o recipe.schema.json
      # first line of a recipe:  # yaml-language-server: $schema=recipe.schema.json

    In Python: curricle.experiments.schema.schema()
    """
    from ..experiments.schema import schema as recipe_schema
    from ..runtime.files import write_text

    if output is None:
        typer.echo(recipe_schema())
    else:
        write_text(output, recipe_schema() + "\n")
        typer.echo(f"wrote {output}")
