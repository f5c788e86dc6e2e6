"""`curricle diff`: what did each expert change?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .options import show


def diff(
    base: Annotated[str, typer.Argument(metavar="BASE", help="The model that all experts were trained from.")],
    experts: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME=EXPERT...", help="A run, a LoRA adapter or a full model of the same shape, with its name."
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where to; each expert gets a folder in it.")
    ],
    normalize: Annotated[
        Literal["none", "l2"],
        typer.Option("--normalize", help="none, or l2: each difference of norm 1, its own norm kept beside it."),
    ] = "none",
    dense: Annotated[
        bool, typer.Option("--dense", help="Write the changed tensors dense as well, in safetensors.")
    ] = False,
    npy: Annotated[
        bool, typer.Option("--npy", help="Write diff_NAME.npy as well: one flat array, with an index in JSON.")
    ] = False,
    max_npy: Annotated[float, typer.Option("--max-npy", metavar="GIB", help="Refuse larger arrays.")] = 1.0,
    force: Annotated[bool, typer.Option("--force", help="Replace a folder that is not empty.")] = False,
) -> None:
    """Write what each expert changed of a base model.

    LoRA stays low-rank. With it come figures and a picture: size by tensor and layer, tails beside a Gaussian's,
    and the cosines between experts.

    \b
    Example:
      curricle diff models/base code=runs/experts/code web=runs/experts/web -o diffs
      curricle diff models/base code=models/code -o diffs --normalize l2 --npy

    In Python: curricle.difference("models/base", ["code=runs/experts/code", "web=runs/experts/web"], "diffs")
    """
    from ..experts.making import difference

    show(difference(base, experts, output, normalize=normalize, dense=dense, npy=npy, max_npy=max_npy, force=force))
