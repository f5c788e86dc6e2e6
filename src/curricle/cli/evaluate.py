"""`curricle evaluate`: figures of a model, or of answers that any tool wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Overrides, integers, show
from .use import WHICH, IdColumn, MaxNewTokens, Recipe

Predictions = Annotated[
    Path | None, typer.Option("--predictions", metavar="FILE", help="Measure these answers in place of a model.")
]
References = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="FILE",
        help="The rows with the references; the recipe's `data.eval` if not given. "
        "With --task, the folder of its files.",
    ),
]
Metrics = Annotated[
    list[str] | None,
    typer.Option(
        "--metric", metavar="M[:KEY=VALUE,...]", help="What to measure, several times; else the recipe's `evaluation`."
    ),
]

Task = Annotated[
    str | None,
    typer.Option(
        "--task",
        metavar="TASK",
        help="Run programs: humaneval, mbpp, mbpp-sanitized (--data FOLDER), or a problem file.",
    ),
]
N = Annotated[int | None, typer.Option("--n", min=1, metavar="N", help="Programs for each problem; 1 by default.")]
K = Annotated[str | None, typer.Option("--k", metavar="K,K", help="The k of pass@k, with commas; 1 by default.")]
Temperature = Annotated[
    float | None,
    typer.Option(
        "--temperature", min=0, metavar="T", help="Of drawing programs; 0 for one a problem, 0.8 for several."
    ),
]
TopP = Annotated[float | None, typer.Option("--top-p", metavar="P", help="Draw from so much of the probability; 0.95.")]
Style = Annotated[
    str | None,
    typer.Option("--style", metavar="S", help="How a problem is put: base, chat or bare; of completions also as-is."),
]
Seconds = Annotated[float | None, typer.Option("--seconds", metavar="S", help="How long a program may run; 3.")]
Memory = Annotated[int | None, typer.Option("--memory-mib", metavar="M", help="The memory a program may have; 512.")]
Workers = Annotated[int | None, typer.Option("--workers", min=1, metavar="N", help="Programs run at once; all cores.")]
Seed = Annotated[int | None, typer.Option("--seed", metavar="N", help="Of drawing programs; a run brings its own.")]
OnlyGenerate = Annotated[bool, typer.Option("--only-generate", help="Write the programs and run none.")]
Unsafe = Annotated[
    bool,
    typer.Option("--unsafe-execution", help="Run programs even where files and network cannot be kept from them."),
]


def evaluate(
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help=f"What to measure. {WHICH}")] = None,
    predictions: Predictions = None,
    data: References = None,
    recipe: Recipe = None,
    metric: Metrics = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Write all figures to this JSON file; with --task, all to this folder."),
    ] = None,
    overrides: Overrides = None,
    id_column: IdColumn = None,
    text_column: Annotated[
        str | None,
        typer.Option(
            "--text-column", metavar="NAME", help="The column of answers; `prediction` or `summary` if not given."
        ),
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Count rows without an answer as empty answers.")
    ] = False,
    task: Task = None,
    n: N = None,
    k: K = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    max_new_tokens: MaxNewTokens = None,
    style: Style = None,
    seconds: Seconds = None,
    memory_mib: Memory = None,
    workers: Workers = None,
    seed: Seed = None,
    only_generate: OnlyGenerate = False,
    unsafe_execution: Unsafe = False,
) -> None:
    """Measure a model, or answers that another tool wrote.

    Answers are matched to rows by id, or by row number where they have no ids. With --task they are programs, run in
    a sandbox and judged by their tests: pass@k.

    \b
    Example:
      curricle evaluate --predictions kobart.csv --data dev.jsonl --metric rouge:tokenizer=morpheme
      curricle evaluate --predictions kobart.csv --data test.jsonl --set data.references=[s1,s2,s3] --metric chrf
      curricle evaluate runs/quickstart/base/seed-42 --metric loss --metric rouge:multi_ref=max -o figures.json
      curricle evaluate models/base --task humaneval --data downloads/humaneval --n 4 --k 1,2 -o scores/humaneval
      curricle evaluate --predictions completions.jsonl --task mbpp --data downloads/mbpp

    In Python: curricle.evaluate(predictions="kobart.csv", data="dev.jsonl", metrics=["rouge:tokenizer=morpheme"])
    """
    given = dict(locals())
    from ..experiments.evaluate import evaluate as measure

    given |= {"metrics": given.pop("metric"), "k": integers(k, "--k")}
    show(measure(**{name: value for name, value in given.items() if value not in (None, False)}))
