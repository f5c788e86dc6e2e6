"""`curricle export`: a run turned into a model folder that any tool loads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of one run: runs/NAME/ARM/seed-K.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write the model into.")],
) -> None:
    """Make a model folder of a run, ready to load.

    Adapters are merged; tokenizer, chat template and a card go with the weights.

    \b
    Example:
      curricle export runs/quickstart/base/seed-0 -o model

    In Python: curricle.export("runs/quickstart/base/seed-0", "model")
    """
    from ..training.export import export as export_run

    typer.echo(str(export_run(run, output)))
