"""`curricle predict` and `chat`: models in use, and how one is named."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Overrides, show

WHICH = "A run (runs/NAME/ARM/seed-K, or a folder that holds one), a model folder, or a name on the hub."
Recipe = Annotated[
    Path | None,
    typer.Option("--recipe", metavar="RECIPE", help="Take settings from this recipe; a run brings its own."),
]
IdColumn = Annotated[
    str | None, typer.Option("--id-column", metavar="NAME", help="The column of ids; `id` or `fname` when not given.")
]

MaxNewTokens = Annotated[
    int | None, typer.Option("--max-new-tokens", min=1, metavar="N", help="The longest answer, in tokens.")
]


def predict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=f"Who answers. {WHICH}")],
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="The rows to answer; a target they have is not looked at.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Where the answers go: .jsonl, or .csv as competitions want."
        ),
    ],
    recipe: Recipe = None,
    overrides: Overrides = None,
    id_column: IdColumn = None,
    text_column: Annotated[
        str, typer.Option("--text-column", metavar="NAME", help="What the column of answers is called.")
    ] = "prediction",
    max_new_tokens: MaxNewTokens = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an output that is there already.")] = False,
) -> None:
    """Answer every row of a file.

    Stopped half way, the same command goes on with the rows that are left.

    \b
    Example:
      curricle predict runs/summaries/base/seed-42 test.jsonl -o answers.jsonl
      curricle predict runs/summaries/base/seed-42 test.csv -o submission.csv --id-column fname --text-column summary

    In Python: curricle.predict("runs/summaries/base/seed-42", "test.jsonl", "answers.jsonl")
    """
    from ..experiments.predict import predict as answer

    result = answer(
        model,
        data,
        output,
        recipe=recipe,
        overrides=overrides or [],
        id_column=id_column,
        text_column=text_column,
        max_new_tokens=max_new_tokens,
        force=force,
    )
    show(result)


def chat(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=f"Who answers. {WHICH}")],
    beside: Annotated[
        str | None,
        typer.Option(
            "--beside",
            metavar="OTHER",
            help="Whom to put beside it: a run or model, `base` (what a run started from; its default) or `none`.",
        ),
    ] = None,
    recipe: Recipe = None,
    system: Annotated[
        str | None,
        typer.Option(
            "--system", metavar="TEXT", help="The system message; the recipe's `data.system_prompt` if not given."
        ),
    ] = None,
    max_new_tokens: MaxNewTokens = None,
    overrides: Overrides = None,
) -> None:
    """Talk with a model; a run answers beside its own base.

    /reset forgets the conversation, /system TEXT sets the system message, /quit ends; \\n in a line is a line feed.
    Without a terminal, each line of standard input is a message.

    \b
    Example:
      curricle chat runs/quickstart/base/seed-42
      echo "What is a curricle?" | curricle chat models/base --max-new-tokens 64

    In Python: curricle.experiments.chat.chat("runs/quickstart/base/seed-42")
    """
    from ..experiments.chat import chat as talk

    talk(
        model,
        beside=beside,
        recipe=recipe,
        system=system,
        max_new_tokens=max_new_tokens,
        overrides=overrides or [],
    )
