"""`curricle model`: model files of other makers made into folders, looked into, cut and verified."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .options import help_when_bare, integers, show

group = typer.Typer(invoke_without_command=True, rich_markup_mode=None)

Source = Annotated[
    Path,
    typer.Argument(
        metavar="SOURCE", help="A llama2.c .bin file, a folder of Meta's consolidated.*.pth, or of transformers."
    ),
]
Output = Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Folder to write the model into.")]
Dtype = Annotated[
    Literal["float32", "bfloat16", "float16"] | None,
    typer.Option("--dtype", help="Precision of the weights; the source's own when not given."),
]
Force = Annotated[bool, typer.Option("--force", help="Replace a folder that is not empty.")]
CheckText = Annotated[
    bool, typer.Option("--check-text/--no-check-text", help="Refuse a model that finds no text likelier than a guess.")
]


@group.callback()
def model(context: typer.Context) -> None:
    """Convert, inspect, slice and verify models.

    \b
    Example:
      curricle model convert stories260K.bin --tokenizer tok512.bin -o models/stories
      curricle model verify models/stories
    """
    help_when_bare(context)


@group.command()
def convert(
    source: Source,
    output: Output,
    tokenizer: Annotated[
        Path | None,
        typer.Option("--tokenizer", metavar="FILE", help="Its tokenizer, where it does not lie beside the model."),
    ] = None,
    heads: Annotated[
        int | None,
        typer.Option(
            "--heads", min=1, metavar="N", help="Heads for N tokens ahead; 1 gives the plain model of head 1."
        ),
    ] = None,
    kind: Annotated[
        Literal["parallel", "sequential"], typer.Option("--kind", help="Of heads that are added.")
    ] = "parallel",
    dtype: Dtype = None,
    origin: Annotated[
        str | None, typer.Option("--origin", metavar="TEXT", help="Kept in metadata.json: a repository, a licence.")
    ] = None,
    check_text: CheckText = True,
    force: Force = False,
) -> None:
    """Make a folder that transformers loads, proved on the way.

    Every tensor is accounted for, logits equal those of a slow reading of the source, and the folder is loaded again.
    Heads are added as copies of the last layer (parallel), and head 1 stays bit for bit what it was.

    \b
    Example:
      curricle model convert stories260K.bin --tokenizer tok512.bin -o models/stories
      curricle model convert 7B_1T_4 -o models/meta-mtp --dtype bfloat16
      curricle model convert models/stories -o models/stories-mtp --heads 3

    In Python: curricle.models.conversion.convert("stories260K.bin", "models/stories", tokenizer="tok512.bin")
    """
    from ..models.conversion import Target
    from ..models.conversion import convert as run

    target = Target(num_future_tokens=heads, kind=kind, dtype=dtype, check_text=check_text)
    show(run(source, output, target, tokenizer=tokenizer, origin=origin, force=force))


@group.command()
def inspect(source: Source) -> None:
    """Show what a model file or folder holds, from its headers.

    \b
    Example:
      curricle model inspect models/stories

    In Python: curricle.models.conversion.inspect_model("models/stories")
    """
    from ..models.conversion import inspect_model

    show(inspect_model(source))


@group.command("slice")
def cut(
    source: Source,
    output: Output,
    layers: Annotated[
        str, typer.Option("--layers", metavar="I,J", help="Layers to keep, from 0, or from the end: 0,1,-1.")
    ],
    dtype: Dtype = None,
    force: Force = False,
) -> None:
    """Make a small model of some layers, to try things out.

    Embedding, norms, output head, extra heads and tokenizer stay as they are.

    \b
    Example:
      curricle model slice models/stories -o models/micro --layers 0,-1 --dtype float16

    In Python: curricle.models.conversion.slice_model("models/stories", "models/micro", [0, -1], dtype="float16")
    """
    from ..models.conversion import slice_model

    show(slice_model(source, output, integers(layers, "--layers") or [], dtype=dtype, force=force))


@group.command()
def verify(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A model folder of transformers.")],
    against: Annotated[
        Path | None,
        typer.Option("--against", metavar="SOURCE", help="A model of any format whose logits head 1 must give."),
    ] = None,
    check_text: CheckText = True,
) -> None:
    """Check that a model folder is whole; exits 2 where it is not.

    Files against the SHA256 in metadata.json, tensors against the config by name and shape, numbers, tokenizer, and
    whether text is likelier to the model than a guess.

    \b
    Example:
      curricle model verify models/stories
      curricle model verify models/stories-mtp --against models/stories

    In Python: curricle.models.conversion.verify_model("models/stories")
    """
    from ..models.conversion import verify_model

    show(verify_model(folder, against, check_text=check_text))
