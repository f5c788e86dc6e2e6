"""`curricle diff`: experts beside their base, a folder of differences with figures and pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ..errors import ModelError, RecipeError
from ..runtime.files import atomic_folder, write_json, write_text
from .checkpoint import Checkpoint
from .difference import Difference, learned
from .files import TOGETHER, npy_bytes, write_difference
from .naming import Named, read_experts
from .picture import draw_summary, draw_together
from .reading import read_difference
from .statistics import Summary, base_norms, cosines, summarize

NPY_GIB = 1.0
Normalize = Literal["none", "l2"]


@dataclass(frozen=True)
class Differences:
    """What was written: a folder for each expert, its figures, and the cosines between them."""

    folder: Path
    summaries: list[Summary]
    cosines: list[list[float | None]]

    def __str__(self) -> str:
        lines = [str(summary) for summary in self.summaries]
        if len(self.summaries) > 1:
            width = max(8, *(len(summary.name) for summary in self.summaries))
            lines.append(" ".join([f"{'cosine':<{width}}", *(f"{one.name:>{width}}" for one in self.summaries)]))
            for one, row in zip(self.summaries, self.cosines, strict=True):
                figures = ("-" if value is None else f"{value:.4f}" for value in row)
                lines.append(" ".join([f"{one.name:<{width}}", *(f"{figure:>{width}}" for figure in figures)]))
        return "\n".join([*lines, f"written to {self.folder}"])


def difference(
    base: str | Path,
    experts: Sequence[str] | Mapping[str, str | Path],
    output: str | Path,
    *,
    normalize: Normalize = "none",
    dense: bool = False,
    npy: bool = False,
    max_npy: float = NPY_GIB,
    force: bool = False,
) -> Differences:
    """Write what each expert changed of `base` to `output`/NAME, and how they stand to each other beside it.

    An expert is `NAME=PATH`: a run, a LoRA adapter, a full model of the base's shape, or a folder written here before.
    `normalize` l2 makes each difference of norm 1; its norm is kept, so that it can be undone. `npy` adds one flat
    array each, up to `max_npy` GiB.
    """
    named, output = _named(experts), Path(output)
    start = Checkpoint(base)
    _refuse_to_overwrite(output, [start.folder, *(Path(expert.path) for expert in named)], force)
    found = [_read(expert, start, normalize) for expert in named]
    if npy:
        _refuse_large(found, max_npy)
    norms = base_norms(start)
    num_parameters = sum(math.prod(start.shape(name)) for name in start.names if learned(start, name))
    summaries = [summarize(each, norms, num_parameters) for each in found]
    made = Differences(output, summaries, cosines(found))
    with atomic_folder(output) as scratch:
        for each, summary in zip(found, summaries, strict=True):
            folder = scratch / each.name
            folder.mkdir()
            write_difference(each, folder, dense=dense, npy=npy)
            write_json(folder / f"diff_{each.name}_summary.json", summary.as_dict())
            write_text(folder / f"diff_{each.name}.svg", draw_summary(summary))
        write_json(scratch / TOGETHER, _together(made, start))
        write_text(scratch / "differences.svg", draw_together(summaries, made.cosines))
    return made


def _named(experts: Sequence[str] | Mapping[str, str | Path]) -> list[Named]:
    texts = [f"{name}={path}" for name, path in experts.items()] if isinstance(experts, Mapping) else list(experts)
    named = read_experts(texts)
    if not named:
        raise RecipeError("no expert was given; name each as NAME=PATH, such as code=runs/experts/code/seed-0")
    weighted = next((expert for expert in named if expert.weight is not None), None)
    if weighted is not None:
        raise RecipeError(
            f"expert {weighted.name} has a weight ({weighted.weight:g}); weights belong to `curricle merge`"
        )
    return named


def _read(expert: Named, base: Checkpoint, normalize: Normalize) -> Difference:
    """As it was learned, or of norm 1; a folder that was normalized before is taken as it was learned."""
    found = read_difference(expert.path, base, expert.name).restored()
    found = replace(found, base=base.fingerprint())  # from here on it is known what the difference is to
    return found.normalized() if normalize == "l2" else found


def _refuse_to_overwrite(output: Path, inputs: Sequence[Path], force: bool) -> None:
    if output.exists() and not output.is_dir():
        raise ModelError(f"{output} is a file; give a folder to write the differences to")
    for path in inputs:
        if output.exists() and path.exists() and path.resolve().is_relative_to(output.resolve()):
            raise ModelError(f"{output} holds {path}, which is read; give another folder")
    if output.exists() and any(output.iterdir()) and not force:
        raise ModelError(f"{output} is not empty; give another folder, or --force to replace it")


def _refuse_large(found: Sequence[Difference], max_npy: float) -> None:
    for each in found:
        size = npy_bytes(each) / 2**30
        if size > max_npy:
            raise ModelError(
                f"diff_{each.name}.npy would have {size:.3g} GiB, and {max_npy:g} are allowed; the factors in "
                "safetensors hold the same. Leave --npy out, or allow more with --max-npy"
            )


def _together(made: Differences, base: Checkpoint) -> dict[str, Any]:
    return {
        "base": {"fingerprint": base.fingerprint(), "name_or_path": str(base.folder)},
        "experts": [summary.name for summary in made.summaries],
        "cosine": made.cosines,
        "norm": {summary.name: summary.whole.norm for summary in made.summaries},
        "relative_norm": {summary.name: summary.whole.relative_norm for summary in made.summaries},
    }
