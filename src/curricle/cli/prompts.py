"""`curricle prompts compare|read|judge`: a few prompts, and points for what several models answer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import help_when_bare, names, show

group = typer.Typer(invoke_without_command=True, rich_markup_mode=None)

FormPath = Annotated[Path, typer.Argument(metavar="FORM", help="The form, eval_prompt_comparison.md.")]


@group.callback()
def prompts(context: typer.Context) -> None:
    """Points for what several models answer to a few prompts.

    \b
    Example:
      curricle prompts compare runs/dem -o results
      curricle prompts read results/eval_prompt_comparison.md
      curricle prompts judge results/eval_prompt_comparison.md --judge http://localhost:8000/v1 --judge-model NAME
    """
    help_when_bare(context)


@group.command()
def compare(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="The folder of an experiment, runs/NAME; every finished arm answers.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where the form goes.")],
    num: Annotated[int, typer.Option("--num", min=1, metavar="N", help="How many prompts.")] = 10,
    file: Annotated[
        Path | None,
        typer.Option(
            "--prompts",
            metavar="FILE",
            help="The prompts: one a line (.txt), or rows like the data's. Else the first held-out rows.",
        ),
    ] = None,
    arms: Annotated[
        list[str] | None,
        typer.Option(metavar="ARM,ARM", help="Only these arms, with commas; may be given several times."),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(metavar="ARM", help="The arm the others are compared with; by default the untrained one."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Whose answers, and how --blind shuffles; by default the first.")
    ] = None,
    blind: Annotated[
        bool, typer.Option("--blind", help="Letters in place of names, dealt anew at each prompt, the key apart.")
    ] = False,
    max_new_tokens: Annotated[
        int | None, typer.Option("--max-new-tokens", min=1, metavar="N", help="The longest answer made, in tokens.")
    ] = None,
) -> None:
    """Write a form: prompts, answers of all arms, empty cells.

    Answers that the runs kept are taken; others are made now. A form of the same answers is left as it is.

    \b
    Example:
      curricle prompts compare runs/dem -o results
      curricle prompts compare runs/dem -o results --prompts prompts.txt --blind --arms base,law,merged

    In Python: curricle.experiments.prompts.compare.compare_prompts("runs/dem", "results")
    """
    from ..experiments.prompts.compare import compare_prompts

    result = compare_prompts(
        run,
        output,
        num=num,
        prompts=file,
        arms=None if not arms else [name for text in arms for name in names(text) or []],
        base=base,
        seed=seed,
        blind=blind,
        max_new_tokens=max_new_tokens,
    )
    show(f"{result}\n\nto be filled: {result.path}")


@group.command()
def read(
    form: FormPath,
    key: Annotated[
        Path | None, typer.Option("--key", metavar="FILE", help="Of a blind form; by default the file beside it.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it as JSON, too.")
    ] = None,
) -> None:
    """Read a filled form: means, improved prompts, open cells.

    \b
    Example:
      curricle prompts read results/eval_prompt_comparison.md
      curricle prompts read results/eval_prompt_comparison.judged.md -o points.json

    In Python: curricle.experiments.prompts.points.read_form("results/eval_prompt_comparison.md")
    """
    from ..experiments.prompts.points import read_form
    from ..runtime.files import write_json

    result = read_form(form, key)
    if output is not None:
        write_json(output, result.as_dict())
    show(result)


@group.command()
def judge(
    form: FormPath,
    url: Annotated[
        str, typer.Option("--judge", metavar="URL", help="An OpenAI-compatible server, http://localhost:8000/v1.")
    ],
    model: Annotated[str, typer.Option("--judge-model", metavar="NAME", help="The model that it is asked for.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="The judged copy; by default beside the form.")
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", metavar="S", help="Seconds until a reply.")] = 120.0,
    tries: Annotated[int, typer.Option("--tries", min=1, metavar="N", help="Requests a prompt, at most.")] = 4,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of the order of the answers.")] = 0,
) -> None:
    """Have a judge model fill a copy of a form, which says so.

    A key, where the server wants one, is read from CURRICLE_JUDGE_KEY. What cannot be read of a reply stays open.

    \b
    Example:
      curricle prompts judge results/eval_prompt_comparison.md --judge http://localhost:8000/v1 --judge-model NAME

    In Python: curricle.experiments.prompts.judge.judge_form("results/eval_prompt_comparison.md", Judge(url, name))
    """
    from ..experiments.prompts.judge import Judge, judge_form

    who = Judge(url, model, timeout=timeout, tries=tries, seed=seed)
    show(judge_form(form, who, output))
