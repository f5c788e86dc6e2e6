"""`curricle export`: a run turned into a model folder that any tool loads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def export(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A finished run: runs/NAME/ARM/seed-K, or runs/NAME if it holds one.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write the model into.")],
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"] | None,
        typer.Option("--dtype", help="Precision of the weights; the base model's own when not given."),
    ] = None,
    push_to_hub: Annotated[
        str | None, typer.Option("--push-to-hub", metavar="OWNER/NAME", help="Upload it to this repository as well.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a folder that is not empty.")] = False,
) -> None:
    """Make a model folder of a run, ready to load.

    Adapters are merged; tokenizer, chat template and a card go with the weights.

    \b
    Example:
      curricle export runs/quickstart/base/seed-42 -o model
      curricle export runs/quickstart -o model --dtype bfloat16

    In Python: curricle.export("runs/quickstart/base/seed-42", "model")
    """
    from ..training.export import export as export_run

    typer.echo(str(export_run(run, output, dtype=dtype, push_to_hub=push_to_hub, force=force)))
