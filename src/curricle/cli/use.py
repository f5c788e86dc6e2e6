"""`curricle evaluate`, `predict` and `chat`: models and answers in use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Overrides

WHICH = "A run (runs/NAME/ARM/seed-K, or a folder that holds one), a model folder, or a name on the hub."
Recipe = Annotated[
    Path | None,
    typer.Option("--recipe", metavar="RECIPE", help="Take settings from this recipe; a run brings its own."),
]
IdColumn = Annotated[
    str | None, typer.Option("--id-column", metavar="NAME", help="The column of ids; `id` or `fname` when not given.")
]


def evaluate(
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help=f"What to measure. {WHICH}")] = None,
    predictions: Annotated[
        Path | None, typer.Option("--predictions", metavar="FILE", help="Measure these answers in place of a model.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data", metavar="FILE", help="The rows with the references; the recipe's `data.eval` if not given."
        ),
    ] = None,
    recipe: Recipe = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            metavar="M[:KEY=VALUE,...]",
            help="What to measure, several times; else the recipe's `evaluation`.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write figures, and values an example, to this JSON file.")
    ] = None,
    overrides: Overrides = None,
    id_column: IdColumn = None,
    text_column: Annotated[
        str | None,
        typer.Option(
            "--text-column", metavar="NAME", help="The column of answers; `prediction` or `summary` if not given."
        ),
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Count rows without an answer as empty answers.")
    ] = False,
) -> None:
    """Measure a model, or answers that another tool wrote.

    Answers are matched to rows by id, or by row number where they have no ids.

    \b
    Example:
      curricle evaluate --predictions kobart.csv --data dev.jsonl --metric rouge:tokenizer=morpheme
      curricle evaluate --predictions kobart.csv --data test.jsonl --set data.references=[s1,s2,s3] --metric chrf
      curricle evaluate runs/quickstart/base/seed-42 --metric loss --metric rouge:multi_ref=max -o figures.json

    In Python: curricle.evaluate(predictions="kobart.csv", data="dev.jsonl", metrics=["rouge:tokenizer=morpheme"])
    """
    from ..experiments.evaluate import evaluate as measure

    result = measure(
        model,
        predictions=predictions,
        data=data,
        recipe=recipe,
        metrics=metric or [],
        output=output,
        overrides=overrides or [],
        id_column=id_column,
        text_column=text_column,
        allow_missing=allow_missing,
    )
    typer.echo(str(result))
