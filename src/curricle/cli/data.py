"""`curricle prepare` and `validate`: data sets turned into files a recipe reads, and whether files are whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="dialogsum, personachat, codecontests, mbpp, mbpp-sanitized, humaneval or contest."
    ),
]
Output = Annotated[Path, typer.Option("-o", "--output", help="Folder to write the files of each split into.")]
Source = Annotated[
    Path | None,
    typer.Argument(
        metavar="SOURCE", help="The folder with the data set as it was published; contest has none, it is made."
    ),
]
Tokenizer = Annotated[
    str | None,
    typer.Option("--tokenizer", metavar="MODEL", help="Leave out programs that are too long for this tokenizer."),
]
MaxLength = Annotated[
    int | None, typer.Option("--max-length", metavar="N", help="The most tokens, with the chat template; 2048.")
]
ChatTemplate = Annotated[
    str | None,
    typer.Option("--chat-template", metavar="NAME", help="The template, for a tokenizer without: chatml or a file."),
]
Python2 = Annotated[
    str | None,
    typer.Option("--python2", metavar="HOW", help="Python 2 of codecontests: parse (as Python 3), apart or drop."),
]
Difficulty = Annotated[
    str | None,
    typer.Option("--difficulty", metavar="SCALE", help="Of codecontests: rating (1 to 11) or published."),
]
Tests = Annotated[
    str | None,
    typer.Option("--tests", metavar="WHICH", help="Of codecontests: all, or published without generated ones."),
]
NumRows = Annotated[int | None, typer.Option("--rows", metavar="N", help="Of contest: solutions to train on; 4000.")]
Seed = Annotated[int | None, typer.Option("--seed", metavar="N", help="Of contest: which problems; 0.")]


def prepare(
    name: Name,
    output: Output,
    source: Source = None,
    tokenizer: Tokenizer = None,
    max_length: MaxLength = None,
    chat_template: ChatTemplate = None,
    python2: Python2 = None,
    difficulty: Difficulty = None,
    tests: Tests = None,
    rows: NumRows = None,
    seed: Seed = None,
) -> None:
    """Turn a published data set into files a recipe reads.

    The options are for sets of programs. Beside rows to train on, such a set gives problems with tests to run, labels
    and statistics, a card that says what was left out and why, and a manifest with the SHA256 of every file.

    \b
    Example:
      curricle prepare dialogsum downloads/dialogsum -o data/dialogsum
      curricle prepare codecontests downloads/code_contests -o data/codecontests --tokenizer models/base
      curricle prepare contest -o data/contest --rows 10000

    In Python: curricle.prepare("codecontests", "downloads/code_contests", "data/codecontests", python2="drop")
    """
    from ..experiments.preparing import prepare as prepare_files

    asked: dict[str, Any] = {
        "max_length": max_length,
        "chat_template": chat_template,
        "python2": python2,
        "difficulty": difficulty,
        "tests": tests,
        "rows": rows,
        "seed": seed,
    }
    options = {option: value for option, value in asked.items() if value is not None}
    if tokenizer is not None:
        from ..models.config import ModelConfig
        from ..models.loading import load_tokenizer

        options["tokenizer"] = load_tokenizer(ModelConfig(name_or_path=tokenizer), need_pad=False)
    typer.echo(str(prepare_files(name, source, output, **options)))


def validate(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A file of rows, or a folder with files of rows.")],
) -> None:
    """Check the rows, SHA256, ids and splits of a data set.

    Every row by its schema; every file by the SHA256 of the manifest; no id twice in a file; labels as the rows have
    them; no problem in two splits, by name or by text. Reads every file whole; exits 1 when something is wrong.

    \b
    Example:
      curricle validate data/codecontests
      curricle validate data/codecontests/train.jsonl

    In Python: curricle.data.validate.validate("data/codecontests")
    """
    from ..data.validate import validate as look_over

    found = look_over(path)
    typer.echo(str(found))
    if not found.ok:
        raise typer.Exit(1)
