"""`curricle score`: how hard is each example?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .options import Overrides, names, show

MODEL = "A model folder, a run, a name on the hub, or a toy model."


def _option(flag: str, metavar: str, text: str) -> Any:
    return typer.Option(flag, metavar=metavar, help=text)


Output = Annotated[
    Path,
    typer.Option("-o", "--output", metavar="FILE", help="Where the labels go: .parquet, or .json for people to read."),
]
Recipe = Annotated[Path | None, typer.Option("--recipe", metavar="RECIPE", help="Read the rows as this recipe says.")]
Calibration = Annotated[
    str | None, _option("--calibration", "FILE", "Rows to fit the common space on; otherwise some of DATA are taken.")
]
NumCalibration = Annotated[
    int | None, _option("--num-calibration", "N", "How many; 200, or half of DATA if that is less.")
]
Pool = Annotated[str | None, _option("--pool", "P", "Whose states count: last (default), mean or probe.")]
Space = Annotated[
    str | None, _option("--space", "S", "Where they are compared: rsa (default), ridge, procrustes or none.")
]
Metric = Annotated[str | None, _option("--metric", "M", "How: cosine (default), l2, kl (one vocabulary) or kl_bytes.")]
Match = Annotated[str | None, _option("--match", "M", "Which layers: of equal depth (depth, default) or alike (cka).")]
Baselines = Annotated[
    str | None,
    _option(
        "--baselines",
        "A,B",
        "Simpler measures to add: length, loss, ifd, gap, compression, mtld, quality (default all), or none.",
    ),
]
Dtype = Annotated[str | None, _option("--dtype", "T", "Precision of the models: float32 (default), bfloat16.")]
TokenBudget = Annotated[int | None, _option("--token-budget", "N", "Tokens of one batch; 4096 when not given.")]
Seed = Annotated[int | None, _option("--seed", "N", "Of the draw of calibration rows; 0 when not given.")]


def score(
    data: Annotated[str, typer.Argument(metavar="DATA", help="The rows to score.")],
    cloud: Annotated[str, typer.Option("--cloud", metavar="MODEL", help=f"The large model. {MODEL}")],
    edge: Annotated[str, typer.Option("--edge", metavar="MODEL", help=f"The small model. {MODEL}")],
    output: Output,
    calibration: Calibration = None,
    num_calibration: NumCalibration = None,
    pool: Pool = None,
    space: Space = None,
    metric: Metric = None,
    match: Match = None,
    baselines: Baselines = None,
    dtype: Dtype = None,
    token_budget: TokenBudget = None,
    seed: Seed = None,
    recipe: Recipe = None,
    overrides: Overrides = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an output that is there already.")] = False,
) -> None:
    """Label each row by how far apart two models see it.

    One model is in memory at a time. Stopped half way, the same command goes on; torchrun shares the work.

    \b
    Example:
      curricle score data/train.jsonl --cloud models/8b --edge models/1b -o labels.parquet
      curricle score data/train.jsonl --cloud models/8b --edge models/1b --recipe recipe.yaml \\
        --space ridge --metric l2 --calibration data/other.jsonl -o labels.parquet

    In Python: curricle.score("data/train.jsonl", cloud="models/8b", edge="models/1b", output="labels.parquet")
    """
    from ..experiments.labels.score import score as label

    result = label(
        data,
        cloud=cloud,
        edge=edge,
        output=output,
        calibration=calibration,
        recipe=recipe,
        overrides=overrides or [],
        force=force,
        num_calibration=num_calibration,
        pool=pool,
        space=space,
        metric=metric,
        match=match,
        baselines=[] if baselines == "none" else names(baselines),
        dtype=dtype,
        token_budget=token_budget,
        seed=seed,
    )
    show(result)
