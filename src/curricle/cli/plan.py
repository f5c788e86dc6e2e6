"""`curricle plan scaling|data|metric`: what to spend, before it is spent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import RecipeError
from .options import help_when_bare, show

group = typer.Typer(invoke_without_command=True, rich_markup_mode=None)

Output = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FOLDER", help="Write the figures as JSON and a picture there.")
]


@group.callback()
def plan(context: typer.Context) -> None:
    """What to spend, before it is spent.

    \b
    Example:
      curricle plan scaling runs.csv --flops 1e20
      curricle plan data --unique 25e9
      curricle plan metric answers.jsonl
    """
    help_when_bare(context)


@group.command()
def scaling(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[RUNS]...", help="Tables of runs (CSV, JSONL, ...) with columns N, D (or C) and loss; run folders."
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Published constants instead of a fit: hoffmann, hoffmann-rounded or epoch."),
    ] = None,
    flops: Annotated[
        list[float] | None,
        typer.Option("--flops", metavar="C", help="A budget of training FLOPs (6 N D); may be given several times."),
    ] = None,
    served: Annotated[
        float | None,
        typer.Option(metavar="TOKENS", help="Tokens to be answered after training, which cost 2 N FLOPs each."),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="N=COLUMN,...", help="Where the table's columns have other names than N, D, C (FLOPs) and loss."
        ),
    ] = None,
    drop_highest: Annotated[
        int, typer.Option("--drop-highest", min=0, metavar="K", help="Leave out the K runs of highest loss.")
    ] = 0,
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", min=0, metavar="K", help="Resamples of the runs for the intervals.")
    ] = 200,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Of the resamples.")] = 0,
    output: Output = None,
) -> None:
    """Fit a scaling law to runs, and size a model for a budget.

    L(N, D) = E + A / N^alpha + B / D^beta is fitted to parameters, tokens and held-out loss, with bootstrap intervals.
    For each budget it says which model has the least loss, and which is cheapest for that loss when it also answers.

    \b
    Example:
      curricle plan scaling runs.csv --flops 1e20 --flops 1e21 -o budget
      curricle plan scaling runs/size-64 runs/size-128 runs/size-256 --flops 1e15
      curricle plan scaling --preset epoch --flops 5.76e23 --served 2e12
      curricle plan scaling points.csv --columns "N=Model Size,C=Training FLOP" --drop-highest 5

    In Python: curricle.planning.scaling.plan.plan_scaling(["runs.csv"], flops=[1e20])
    """
    from ..planning.scaling.plan import plan_scaling

    found = plan_scaling(
        runs or [],
        preset=preset,
        flops=flops or [],
        served=served,
        columns=_columns(columns),
        drop_highest=drop_highest,
        num_resamples=bootstrap,
        seed=seed,
    )
    if output is not None:
        found.write(output)
    show(found)


@group.command()
def data(
    unique: Annotated[float, typer.Option(metavar="TOKENS", help="Unique tokens that there are.")],
    tokens: Annotated[
        float | None, typer.Option(metavar="TOKENS", help="Tokens of training; the table ends there.")
    ] = None,
    params: Annotated[float | None, typer.Option(metavar="N", help="A model's parameters: adds its loss.")] = None,
    flops: Annotated[
        float | None,
        typer.Option("--flops", metavar="C", help="A budget of training FLOPs (6 N D): which model, how many epochs."),
    ] = None,
    synthetic: Annotated[
        float | None, typer.Option(metavar="TOKENS", help="Synthetic tokens that there are beside; with --worth.")
    ] = None,
    worth: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="What a fresh synthetic token is worth, in fresh real ones; up to 1."),
    ] = None,
    output: Output = None,
) -> None:
    """Say how many epochs of the data still pay.

    What repeated tokens are worth in fresh ones, after Muennighoff et al. 2023; the best model for a budget where
    tokens run out; and how real and synthetic tokens are best drawn.

    \b
    Example:
      curricle plan data --unique 25e9
      curricle plan data --unique 25e9 --tokens 178e9 --params 8.67e9 --flops 9.3e21
      curricle plan data --unique 1e9 --tokens 20e9 --synthetic 5e9 --worth 0.6 -o budget

    In Python: curricle.planning.repetition.plan.plan_data(25e9, tokens=178e9)
    """
    from ..planning.repetition.plan import plan_data

    found = plan_data(unique, tokens=tokens, params=params, flops=flops, synthetic=synthetic, value=worth)
    if output is not None:
        found.write(output)
    show(found)


@group.command()
def metric(
    answers: Annotated[
        list[Path],
        typer.Argument(
            metavar="ANSWERS...", help="Tables with a row for each answer: scale, log_prob, tokens, perhaps passed."
        ),
    ],
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=COLUMN,...", help="Where columns have other names than scale, log_prob, tokens, passed."
        ),
    ] = None,
    output: Output = None,
) -> None:
    """Tell a jump of the model from one of the metric.

    An exact match stays near 0 for long while the probability of each token grows evenly. Beside the share of answers
    that pass this shows the log-loss a token at each scale, and says which of the two jumps.

    \b
    Example:
      curricle plan metric answers.jsonl
      curricle plan metric small.csv large.csv --columns scale=params,passed=exact_match -o budget

    In Python: curricle.planning.metric.plan_metric(["answers.jsonl"])
    """
    from ..planning.metric import plan_metric

    found = plan_metric(answers, _columns(columns))
    if output is not None:
        found.write(output)
    show(found)


def _columns(text: str | None) -> dict[str, str]:
    """`"N=Model Size,loss=eval"` as a dictionary."""
    pairs = [part.partition("=") for part in (text or "").split(",") if part.strip()]
    if wrong := [name for name, equals, column in pairs if not (equals and column.strip())]:
        raise RecipeError(f"--columns takes NAME=COLUMN with commas between them; found {wrong[0].strip()!r}.")
    return {name.strip(): column.strip() for name, _, column in pairs}
