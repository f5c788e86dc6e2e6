"""`curricle score`: how hard is each example?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..runtime.ranks import is_main
from .options import Overrides, names

_MODEL = "A model folder, a run, or a name on the hub."


def score(
    data: Annotated[str, typer.Argument(metavar="DATA", help="The rows to score.")],
    cloud: Annotated[str, typer.Option("--cloud", metavar="MODEL", help=f"The large model. {_MODEL}")],
    edge: Annotated[str, typer.Option("--edge", metavar="MODEL", help=f"The small model. {_MODEL}")],
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Where the labels go: .parquet, or .json to be read by people."
        ),
    ],
    calibration: Annotated[
        str | None,
        typer.Option(
            "--calibration", metavar="FILE", help="Rows to fit the common space on; otherwise some of DATA are taken."
        ),
    ] = None,
    num_calibration: Annotated[
        int | None,
        typer.Option("--num-calibration", metavar="N", help="How many; 200, or half of DATA if that is less."),
    ] = None,
    pool: Annotated[
        str | None, typer.Option("--pool", metavar="P", help="Whose states count: last (default), mean or probe.")
    ] = None,
    space: Annotated[
        str | None,
        typer.Option("--space", metavar="S", help="Where they are compared: rsa (default), ridge, procrustes or none."),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option("--metric", metavar="M", help="How: cosine (default), l2, kl (one vocabulary) or kl_bytes."),
    ] = None,
    match: Annotated[
        str | None,
        typer.Option("--match", metavar="M", help="Which layers: of equal depth (depth, default) or alike (cka)."),
    ] = None,
    baselines: Annotated[
        str | None,
        typer.Option(
            "--baselines",
            metavar="A,B",
            help="Simpler measures to add: length, loss, ifd, gap, compression, mtld, quality (default all), or none.",
        ),
    ] = None,
    dtype: Annotated[
        str | None, typer.Option("--dtype", metavar="T", help="Precision of the models: float32 (default), bfloat16.")
    ] = None,
    token_budget: Annotated[
        int | None, typer.Option("--token-budget", metavar="N", help="Tokens of one batch; 4096 when not given.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", help="Of the draw of calibration rows; 0 when not given.")
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option("--recipe", metavar="RECIPE", help="Read the rows as this recipe says.")
    ] = None,
    overrides: Overrides = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an output that is there already.")] = False,
) -> None:
    """Label each row with how far apart a large and a small model see it.

    One model is in memory at a time. Stopped half way, the same command goes on; torchrun shares the work.

    \b
    Example:
      curricle score data/train.jsonl --cloud models/8b --edge models/1b -o labels.parquet
      curricle score data/train.jsonl --cloud models/8b --edge models/1b --recipe recipe.yaml \\
        --space ridge --metric l2 --calibration data/other.jsonl -o labels.parquet

    In Python: curricle.score("data/train.jsonl", cloud="models/8b", edge="models/1b", output="labels.parquet")
    """
    from ..experiments.score import score as label

    asked: dict[str, Any] = {
        "num_calibration": num_calibration,
        "pool": pool,
        "space": space,
        "metric": metric,
        "match": match,
        "baselines": [] if baselines == "none" else names(baselines),
        "dtype": dtype,
        "token_budget": token_budget,
        "seed": seed,
    }
    result = label(
        data,
        cloud=cloud,
        edge=edge,
        output=output,
        calibration=calibration,
        recipe=recipe,
        overrides=overrides or [],
        force=force,
        **asked,
    )
    if is_main():
        typer.echo(str(result))
