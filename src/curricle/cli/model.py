"""`curricle export`: a run turned into a model folder that any tool loads, or told to MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import RecipeError

MLFLOW = "mlflow"


def export(
    run: Annotated[
        list[str],
        typer.Argument(
            metavar="[mlflow] RUN", help="A finished run: runs/NAME/ARM/seed-K, or runs/NAME if it holds one."
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder to write the model into; not for mlflow.")
    ] = None,
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"] | None,
        typer.Option("--dtype", help="Precision of the weights; the base model's own when not given."),
    ] = None,
    push_to_hub: Annotated[
        str | None, typer.Option("--push-to-hub", metavar="OWNER/NAME", help="Upload it to this repository as well.")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="URI", help="For mlflow: its store, if not the one of MLFLOW_TRACKING_URI."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a folder that is not empty.")] = False,
) -> None:
    """Make a model folder of a run, ready to load.

    Adapters are merged; tokenizer, chat template and a card go with the weights.

    With `mlflow` before the run, its parameters, figures, results and report go to an MLflow store instead: a server,
    or by default a file beside the runs. What is there already is not sent again; RUN may hold several runs.

    \b
    Example:
      curricle export runs/quickstart/base/seed-42 -o model
      curricle export runs/quickstart -o model --dtype bfloat16
      curricle export mlflow runs/quickstart --to http://tracking:5000

    In Python: curricle.export("runs/quickstart/base/seed-42", "model")
    In Python: curricle.experiments.tracking.following.export_mlflow("runs/quickstart")
    """
    if len(run) == 2 and run[0] == MLFLOW:
        if output is not None or dtype is not None or push_to_hub is not None or force:
            raise RecipeError(f"`export mlflow {run[1]}` takes --to only; the other options are for a model folder")
        from ..experiments.tracking.following import export_mlflow

        typer.echo(export_mlflow(run[1], to))
        return
    if len(run) != 1:
        raise RecipeError(f"export takes one run, or `mlflow` and a run; found {' '.join(run)}")
    if to is not None:
        raise RecipeError(f"--to is for MLflow: `curricle export mlflow {run[0]} --to {to}`")
    if output is None:
        raise RecipeError(f"-o is missing: the folder to write the model of {run[0]} into")
    from ..training.export import export as export_run

    typer.echo(str(export_run(run[0], output, dtype=dtype, push_to_hub=push_to_hub, force=force)))
