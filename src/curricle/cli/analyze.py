"""`curricle analyze`: what is in a label file, and does it foresee real difficulty?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Overrides, show

Labels = Annotated[
    list[Path], typer.Argument(metavar="LABELS", help="A label file, or several of the same rows, to compare them.")
]
Against = Annotated[
    Path | None, typer.Option("--against", metavar="FILE", help="A label file that has real difficulty, by id.")
]
Target = Annotated[str, typer.Option("--target", metavar="COLUMN", help="The column that is real difficulty.")]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FOLDER", help="Write analysis.json and report.html there.")
]
Data = Annotated[
    Path | None, typer.Option("--data", metavar="DATA", help="The labelled rows, if they are elsewhere by now.")
]
Recipe = Annotated[Path | None, typer.Option("--recipe", metavar="RECIPE", help="Read the rows as this recipe says.")]
Force = Annotated[bool, typer.Option("--force", help="Write into a folder that holds something else.")]


def analyze(
    labels: Labels,
    against: Against = None,
    target: Target = "probe",
    output: Output = None,
    recipe: Recipe = None,
    data: Data = None,
    overrides: Overrides = None,
    force: Force = False,
) -> None:
    """Say what labels hold, and how well they foretell losses.

    From the labels alone: which layers differ, how each score is spread, how they agree, the hardest and the easiest
    rows. Against real difficulty every column gets its rank correlation, also given length, and AUC and accuracy of
    the harder half, each with an interval; then whether the best score beats the best simple baseline.

    \b
    Example:
      curricle analyze labels.parquet -o analysis
      curricle analyze labels.parquet --against probe.parquet -o analysis
      curricle analyze l2.parquet cosine.parquet kl.parquet --against probe.parquet

    In Python: curricle.analyze("labels.parquet", against="probe.parquet", output="analysis")
    """
    from ..experiments.analysis.analyze import analyze as look

    show(look(labels, against, target, output, recipe, data, overrides or [], force))
