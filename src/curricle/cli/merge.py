"""`curricle merge`: a base and weighted experts made one model, by flags or by mergekit's YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..errors import RecipeError
from .options import show

AsAdapter = Annotated[
    bool, typer.Option("--as-adapter", help="Write one LoRA adapter for PEFT, out of LoRA experts, not a whole model.")
]
Rank = Annotated[
    int | None, typer.Option("--rank", help="With --as-adapter: the best of this rank; exact when not given.")
]


Prove = Annotated[
    bool | None,
    typer.Option(
        "--prove/--no-prove",
        help="Compare logits with base and experts before the model takes its name; when not given, of adapters.",
    ),
]


def merge(
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG]", help="A mergekit YAML file, in place of --base and --expert.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder to write the merged model into.")
    ] = None,
    base: Annotated[str | None, typer.Option("--base", help="The model that the experts were made from.")] = None,
    expert: Annotated[
        list[str] | None,
        typer.Option(
            "--expert",
            metavar="NAME=PATH@W",
            help="An expert and its weight: an adapter, a difference folder, a full model or a run; given for each.",
        ),
    ] = None,
    method: Annotated[
        Literal["linear", "task_arithmetic", "uniform", "ties", "dare_linear", "dare_ties"] | None,
        typer.Option("--method", help="How differences are added up; linear when not given."),
    ] = None,
    normalize: Annotated[
        Literal["none", "sum1"] | None,
        typer.Option("--normalize", help="none: weights as they are (DEM), the default; sum1: divided by their sum."),
    ] = None,
    density: Annotated[
        float | None, typer.Option("--density", help="Share of each difference that ties and dare keep.")
    ] = None,
    scale: Annotated[float | None, typer.Option("--scale", help="Times the sum of all (lambda); 1 by default.")] = None,
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"] | None,
        typer.Option("--dtype", help="Precision of the weights; the base model's own when not given."),
    ] = None,
    rounding: Annotated[
        Literal["nearest", "stochastic"],
        typer.Option("--rounding", help="To the nearest number, or up and down at random in proportion."),
    ] = "nearest",
    prove: Prove = None,
    as_adapter: AsAdapter = False,
    rank: Rank = None,
    seed: Annotated[int, typer.Option("--seed", help="Of stochastic rounding and of what dare drops.")] = 0,
    shard_size: Annotated[
        str, typer.Option("--shard-size", metavar="SIZE", help="Largest file, such as 500MB or 5GB.")
    ] = "5GB",
    force: Annotated[bool, typer.Option("--force", help="Replace a folder that is not empty.")] = False,
) -> None:
    """Add experts' differences to a base, into a new folder.

    Sums are made in float32 and rounded once; nothing but a few pieces of tensors is in memory. The same command goes
    on with a merge that was interrupted. README.md and merge.json in the folder say what was added.

    \b
    Example:
      curricle merge --base models/base --expert code=runs/code@0.6 --expert web=runs/web@0.4 -o merged
      curricle merge --base models/base --expert a=a@1 --expert b=b@1 --method ties --density 0.2 --normalize sum1 -o m
      curricle merge mergekit.yml -o merged
      curricle merge --base models/base --expert a=a@0.6 --expert b=b@0.4 --as-adapter --rank 16 -o adapter

    In Python: curricle.merge("models/base", {"code": "runs/code"}, "merged", weights={"code": 0.6})
    """
    from ..experts.merging.config import MergeSettings

    if output is None:
        raise RecipeError("-o is missing: the folder to write the merged model into")
    files: dict[str, Any] = {"rounding": rounding, "seed": seed, "max_shard_bytes": _bytes(shard_size)}
    own: dict[str, Any] = {"base": base, "expert": expert, "method": method, "normalize": normalize}
    thinned: dict[str, Any] = {"density": density, "scale": scale, "dtype": dtype}
    asked = {key: value for key, value in {**own, **thinned}.items() if value is not None}
    if prove is not None and (as_adapter or config is not None):
        raise RecipeError("--prove and --no-prove are for --base and --expert without --as-adapter; leave it out")
    if as_adapter or rank is not None:
        _of_adapters(config, output, asked, as_adapter, rank, force)
        return
    if config is not None:
        _of_config(config, output, asked, MergeSettings(**files), force)
        return
    numbers = {key: asked.pop(key) for key in thinned if key in asked}
    _of_flags(output, asked, MergeSettings(**numbers, **files), prove, force)


def _of_config(config: Path, output: Path, asked: dict[str, Any], settings: Any, force: bool) -> None:
    from ..experts.merging.merge import merge_config

    if asked:
        flags = ", ".join(f"--{key}" for key in asked)
        raise RecipeError(f"{config} says what is merged; {flags} beside it would say it again")
    show(merge_config(config, output, settings=settings, force=force))


def _of_adapters(
    config: Path | None, output: Path, asked: dict[str, Any], as_adapter: bool, rank: int | None, force: bool
) -> None:
    from ..experts.adapter import merge_adapters
    from ..experts.naming import read_experts

    if not as_adapter:
        raise RecipeError("--rank is that of an adapter; give --as-adapter as well")
    other = [key for key in asked if key not in ("base", "expert", "normalize", "method")]
    if config is not None or other or asked.get("method", "linear") not in ("linear", "task_arithmetic"):
        what = f"--{other[0]}" if other else f"method {asked['method']}" if config is None else str(config)
        raise RecipeError(f"an adapter is the weighted sum in float32: {what} does not go with --as-adapter")
    if "base" not in asked or "expert" not in asked:
        raise RecipeError("give --base and an --expert NAME=PATH@WEIGHT for each expert")
    experts = read_experts(asked["expert"])
    paths = {one.name: one.path for one in experts}
    weights = {one.name: one.weight for one in experts if one.weight is not None}
    normalize = asked.get("normalize", "none")
    show(merge_adapters(asked["base"], paths, weights, output, rank=rank, normalize=normalize, force=force))


def _of_flags(output: Path, asked: dict[str, Any], settings: Any, prove: bool | None, force: bool) -> None:
    from ..experts.merging.merge import merge
    from ..experts.naming import read_experts

    if "base" not in asked or "expert" not in asked:
        raise RecipeError("give --base and an --expert NAME=PATH@WEIGHT for each expert, or a mergekit YAML file")
    experts = read_experts(asked.pop("expert"))
    paths: dict[str, Any] = {one.name: one.path for one in experts}
    weights = {one.name: one.weight for one in experts if one.weight is not None}
    how = {"weights": weights, "settings": settings, "prove": prove, "force": force}
    show(merge(asked.pop("base"), paths, output, **how, **asked))


def _bytes(text: str) -> int:
    units = {"KB": 10**3, "MB": 10**6, "GB": 10**9}
    number, unit = text[:-2].strip(), text[-2:].upper()
    try:
        return int(float(number) * units[unit])
    except (KeyError, ValueError, OverflowError):
        raise RecipeError(f"--shard-size is {text!r}; write a number and KB, MB or GB, such as 5GB") from None
