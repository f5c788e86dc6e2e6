"""`curricle compare`: finished runs beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Runs = Annotated[
    list[Path],
    typer.Argument(metavar="RUN", help="Folders: runs/NAME, runs/NAME/ARM or runs/NAME/ARM/seed-0, one or several."),
]
Base = Annotated[
    str | None,
    typer.Option(
        metavar="ARM",
        help="The arm that the others are compared with; by default `comparison.base` of the recipe, or the first.",
    ),
]
Output = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it as JSON, too.")]


Table = Annotated[
    Path | None,
    typer.Option("--csv", metavar="FILE", help="Write a row for every arm, seed and figure as CSV, too."),
]


def compare(runs: Runs, base: Base = None, output: Output = None, csv: Table = None) -> None:
    """Compare finished runs, of one experiment or of several.

    Each figure comes with its interval over seeds and examples, its difference from the base arm and a verdict; then
    what the arms cost, how fast they learned, what stays open and what makes the comparison less than fair. How it is
    compared is what the experiment's own recipe says under `comparison`, where its folder is named.

    \b
    Example:
      curricle compare runs/quickstart
      curricle compare runs/old/base runs/new/base --base old/base -o comparison.json
      curricle compare runs/quickstart --csv metric_summary.csv

    In Python: curricle.compare("runs/old/base", "runs/new/base", base="old/base")
    """
    from ..experiments.compare import compare as compare_runs
    from ..runtime.files import write_json

    comparison = compare_runs(*runs, base=base)
    if output is not None:
        write_json(output, comparison.as_dict())
    if csv is not None:
        from ..experiments.metric_summary import write_metric_summary

        write_metric_summary(runs, csv)
    typer.echo(str(comparison))
