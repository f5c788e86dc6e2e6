"""`curricle search-weights`: how much each expert counts in a merge, by held-out loss."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..errors import RecipeError
from .options import Overrides, show

Expert = Annotated[
    list[str],
    typer.Option(
        "--expert",
        metavar="NAME=PATH[@WEIGHT]",
        help="An expert of the base, several times: an adapter, a run, a model, a difference. A weight is tried first.",
    ),
]
Data = Annotated[
    list[str],
    typer.Option(
        "--data",
        metavar="[NAME=]FILE",
        help="Validation rows: a file for each domain by name, or one file and --domain-field.",
    ),
]
Test = Annotated[
    list[str] | None,
    typer.Option("--test", metavar="[NAME=]FILE", help="Test rows; validation rows that are among them are refused."),
]
Shares = Annotated[
    list[str] | None,
    typer.Option("--share", metavar="DOMAIN=SHARE", help="With --objective shares: how much a domain's loss counts."),
]


def search_weights(
    base: Annotated[str, typer.Argument(metavar="BASE", help="The model that the experts were trained from.")],
    expert: Expert,
    data: Data,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write into; a search goes on there.")],
    domain_field: Annotated[
        str | None, typer.Option("--domain-field", metavar="COLUMN", help="The column that names a row's domain.")
    ] = None,
    test: Test = None,
    method: Annotated[
        Literal["bayes", "coordinate", "nelder-mead", "grid"] | None,
        typer.Option("--method", help="How weights are looked for; bayes by default."),
    ] = None,
    budget: Annotated[int | None, typer.Option("--budget", metavar="N", help="Weights to try; 40 by default.")] = None,
    normalize: Annotated[
        Literal["none", "sum1"] | None,
        typer.Option(
            "--normalize", help="none (by default): base + weighted differences; sum1: weights over their sum."
        ),
    ] = None,
    objective: Annotated[
        Literal["mean", "shares", "worst"] | None,
        typer.Option("--objective", help="What is made small: the domains' mean loss (by default), or see docs."),
    ] = None,
    share: Shares = None,
    bounds: Annotated[
        str | None, typer.Option("--bounds", metavar="LOW,HIGH", help="The least and the largest weight; 0,1.5.")
    ] = None,
    first_rows: Annotated[
        int | None, typer.Option("--first-rows", metavar="N", help="Search on so many rows of each domain first.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="Of --method bayes; 0 by default.")] = None,
    recipe: Annotated[
        Path | None, typer.Option("--recipe", metavar="RECIPE", help="Read rows by its `data` section.")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Find the weights of a merge by held-out loss.

    No model is written: one base in memory takes on the weights of each candidate. The folder gets weights.json,
    search.jsonl with a line for each evaluation, surface.svg, and pareto.json where domains conflict.

    \b
    Example:
      curricle search-weights models/base --expert law=runs/law --expert news=runs/news \\
        --data law=law-dev.jsonl --data news=news-dev.jsonl -o search
      curricle search-weights models/base --expert law=runs/law@0.6 --expert news=runs/news@0.4 \\
        --data dev.jsonl --domain-field topic --method coordinate --budget 60 --test test.jsonl -o search

    In Python: curricle.search_weights("models/base", ["law=runs/law"], ["law=law-dev.jsonl"], "search", budget=60)
    """
    from ..experiments.searching import search_weights as search

    settings = {
        "method": method,
        "budget": budget,
        "normalize": normalize,
        "objective": objective,
        "shares": _numbers(share) if share else None,
        "bounds": _pair(bounds) if bounds is not None else None,
        "first_rows": first_rows,
        "seed": seed,
    }
    given: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
    given |= {"test": test, "domain_field": domain_field, "recipe": recipe, "overrides": overrides or ()}
    show(search(base, expert, data, output, **given))


def _numbers(texts: list[str]) -> dict[str, float]:
    try:
        return {name: float(value) for name, _, value in (text.rpartition("=") for text in texts)}
    except ValueError:
        raise RecipeError(f"--share takes DOMAIN=SHARE, such as law=0.7; found {' '.join(texts)}") from None


def _pair(text: str) -> list[float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise RecipeError(f"--bounds takes two numbers, such as 0,1.5; found {text!r}") from None
    return [low, high]
