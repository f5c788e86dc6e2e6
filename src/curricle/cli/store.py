"""`curricle index` and `curricle select`: the rows of a large file, by the columns of a small index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import names, show

DATA = "A .jsonl or .parquet file of any size."
Data = Annotated[Path, typer.Argument(metavar="DATA", help=DATA)]
Folder = Annotated[
    Path | None,
    typer.Option("--index-folder", metavar="FOLDER", help="Keep the index there; by default it lies beside DATA."),
]
Columns = Annotated[
    str | None,
    typer.Option(
        "--columns", metavar="A,B", help="Columns to keep, a dot reaching inside: is_correct,metadata.source."
    ),
]


Where = Annotated[
    list[str] | None,
    typer.Option("--where", metavar="C=V[,V]", help="Rows with one of these values, or in a range: 1..3, 800.., ..5."),
]
Shares = Annotated[
    list[str] | None,
    typer.Option("--shares", metavar="C:V=S,...", help="The share of each value or range, together 1; or C:equal."),
]
Counts = Annotated[
    list[str] | None,
    typer.Option("--counts", metavar="C:V=N,...", help="How many of each value, in place of --rows and --shares."),
]
Cap = Annotated[
    list[str] | None, typer.Option("--cap", metavar="C=N", help="The most rows of each value of a column: problem=8.")
]


def index(data: Data, columns: Columns = None, folder: Folder = None) -> None:
    """Make the index of a file, or say what is in it.

    It is made by itself where it is needed; this makes it beforehand. `problem` is the task id without its ending
    _correct_N or _incorrect_N.

    \b
    Example:
      curricle index train.jsonl --columns is_correct,metadata.difficulty,problem

    In Python: curricle.data.store.open_store("train.jsonl", columns=["is_correct", "problem"])
    """
    from ..data.store import open_store

    with open_store(data, names(columns) or [], folder) as store:
        show(store)


def select(
    data: Data,
    where: Where = None,
    rows: Annotated[int | None, typer.Option("--rows", min=1, metavar="N", help="How many; else all that fit.")] = None,
    shares: Shares = None,
    counts: Counts = None,
    cap: Cap = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Which draw.")] = 0,
    on_shortage: Annotated[
        str,
        typer.Option("--on-shortage", metavar="WHAT", help="A value has too few rows: redistribute, fewer or error."),
    ] = "redistribute",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write the rows there, as .jsonl.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be taken, and write nothing.")] = False,
    folder: Folder = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an output that is there already.")] = False,
) -> None:
    """Choose rows of a file by their columns.

    Filters, exact shares and caps, without replacement, the same rows for a seed everywhere; what is short is said. A
    recipe takes the same settings: data.train: {path: train.jsonl, select: {rows: 50000}}.

    \b
    Example:
      curricle select train.jsonl --rows 50000 --shares is_correct:true=0.5,false=0.5 --cap problem=8 -o small.jsonl
      curricle select train.jsonl --where metadata.difficulty=1..3 --shares metadata.source:equal --dry-run

    In Python: curricle.data.store.select_rows("train.jsonl", Selection(rows=50_000, shares={"is_correct": "equal"}))
    """
    from ..data.store import select_rows
    from ..data.store.words import selection
    from ..errors import RecipeError

    if output is None and not dry_run:
        raise RecipeError("name the file to write with -o FILE.jsonl, or ask with --dry-run what would be taken")
    asked = selection(where, shares, counts, cap, rows=rows, seed=seed, on_shortage=on_shortage)
    show(select_rows(data, asked, None if dry_run else output, folder, force))
