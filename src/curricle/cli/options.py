"""Arguments and options that several commands share, the reading of comma lists, and a group's bare name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import RecipeError
from ..runtime.ranks import is_main

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe, a YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Set one key of the recipe; may be given several times."),
]


def help_when_bare(context: typer.Context) -> None:
    """A group named without a command shows what it has, and exits 2, as nothing was done."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def names(text: str | None) -> list[str] | None:
    """`"x,y"` as `["x", "y"]`; nothing asked stays None."""
    return None if text is None else [name for name in (part.strip() for part in text.split(",")) if name]


def integers(text: str | None, flag: str = "--seeds") -> list[int] | None:
    """`"0,1"` as `[0, 1]`; nothing asked stays None."""
    try:
        return None if text is None else [int(name) for name in names(text) or []]
    except ValueError:
        raise RecipeError(
            f"{flag} takes whole numbers with commas between them, such as 0,1,2; found {text!r}."
        ) from None


def show(result: object) -> None:
    """A result on standard output: once, however many processes made it."""
    if is_main():
        typer.echo(str(result))
