"""`curricle prepare`: a known data set, as it lies, turned into the files a recipe reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def prepare(
    name: Annotated[str, typer.Argument(metavar="NAME", help="dialogsum or personachat.")],
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="The folder with the data set as it was published.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write train, dev and test files into.")],
) -> None:
    """Turn a published data set into files a recipe reads.

    \b
    Example:
      curricle prepare dialogsum downloads/dialogsum -o data/dialogsum

    In Python: curricle.prepare("dialogsum", "downloads/dialogsum", "data/dialogsum")
    """
    from ..data.prepare import prepare as prepare_files

    typer.echo(str(prepare_files(name, source, output)))
