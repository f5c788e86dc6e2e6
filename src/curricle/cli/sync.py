"""`curricle sync`: a folder copied elsewhere, and proved."""

from __future__ import annotations

from typing import Annotated

import typer


def sync(
    source: Annotated[
        str, typer.Argument(metavar="SRC", help="The folder to copy: a path, or an address such as s3://bucket/runs.")
    ],
    dest: Annotated[
        str, typer.Argument(metavar="DEST", help="The folder to copy into, made if need be: a path or an address.")
    ],
    verify: Annotated[
        bool, typer.Option("--verify", help="Read back what is there already too, and copy anew what is damaged.")
    ] = False,
) -> None:
    """Copy a folder elsewhere, and prove that it arrived.

    Each file is read back at its destination and noted in MANIFEST.sha256 there. Run again, after a break or a change,
    only what is missing or differs is copied. Nothing is deleted. An address needs fsspec's package for it, such as
    s3fs or gcsfs.

    \b
    Example:
      curricle sync runs/quickstart /data/quickstart
      curricle sync runs s3://bucket/runs --verify
      curricle sync s3://bucket/models/base models/base

    In Python: curricle.runtime.sync.sync("runs/quickstart", "/data/quickstart")
    """
    from ..runtime.sync import sync as copy

    typer.echo(str(copy(source, dest, verify=verify)))
