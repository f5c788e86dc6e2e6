"""What is made of an experiment with merges, beside the arms' own folders, under the names that DEM's plan has for it.

runs/NAME/experts/seed-K/
  checkpoints/lora_<expert>       the adapter, or the whole model, that training left (a link)
  logs/train_<expert>.log         loss and held-out loss by step and epoch
  summary/train_<expert>.csv      the same as a table
  differences/                    what `curricle diff` writes
  diff_vectors/diff_<expert>.npy  a flat array, with its index beside it (links; up to a size)
  diff_stats/diff_<expert>_summary.json
  merged_model                    the model of the first arm that merges (a link)
  results/eval_prompt_comparison.md
runs/NAME/results/metric_summary.csv
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import RunError
from ...runtime.files import atomic_file, read_json
from ...runtime.logs import JsonLog
from ...runtime.progress import say
from ...runtime.ranks import world_size
from ..chain import model_folder
from ..results import Result

if TYPE_CHECKING:
    from ..resolve import Arm

FOLDER, RESULTS = "experts", "results"
COLUMNS = ("step", "epoch", "loss", "eval_loss", "learning_rate", "grad_norm", "tokens", "seconds")
LARGEST_NPY = 1.0  # GiB


def write_outputs(arms: Sequence[Arm], folder: Path, result: Result) -> None:
    """All of them, for every seed whose merges are done."""
    from ..metric_summary import write_metric_summary

    merging = [arm for arm in arms if arm.settings.merge is not None]
    if not merging:
        return
    done = {(run.arm, run.seed) for run in result.runs if run.results}
    first = merging[0]
    assert first.settings.merge is not None
    experts = first.settings.merge.arms
    for seed in sorted({seed for name, seed in done if name == first.name}):
        merged = folder / first.name / f"seed-{seed}"
        _write(folder / FOLDER / f"seed-{seed}", experts, merged, seed, first, arms)
    write_metric_summary(folder, folder / RESULTS / "metric_summary.csv")


def _write(place: Path, experts: Sequence[str], merged: Path, seed: int, first: Arm, arms: Sequence[Arm]) -> None:
    models = {name: model_folder(name, merged) for name in experts}
    for name, model in models.items():
        _link(place / "checkpoints" / f"lora_{name}", model)
        write_log(model.parent, place / "logs" / f"train_{name}.log", place / "summary" / f"train_{name}.csv")
    _link(place / "merged_model", merged / "model")
    _differences(place, models, merged)
    _prompts(place / RESULTS, experts, seed, first, arms)


def write_log(run: Path, log: Path, table: Path) -> None:
    """A run's steps, for a person and as a table."""
    steps = JsonLog(run / "metrics.jsonl").rows()
    held_out = [row | {"loss": None, "eval_loss": row.get("loss")} for row in JsonLog(run / "heldout.jsonl").rows()]
    rows = sorted([*steps, *held_out], key=lambda row: (row["step"], "eval_loss" in row))
    with atomic_file(log) as handle:
        handle.writelines(f"{_line(row)}\n" for row in rows)
    with atomic_file(table) as handle:
        writer = csv.DictWriter(handle, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _line(row: dict[str, Any]) -> str:
    said = [f"{name} {row[name]:.6g}" for name in COLUMNS if isinstance(row.get(name), int | float)]
    return "  ".join(said)


def _differences(place: Path, models: dict[str, Path], merged: Path) -> None:
    from ...experts.making import difference

    made = place / "differences"
    if (made / "differences.json").is_file() and not _older(made / "differences.json", models):
        return
    base = Path(read_json(merged / "model" / "merge.json")["base"]["path"])
    small = sum(file.stat().st_size for file in base.glob("*.safetensors")) <= LARGEST_NPY * 2**30 / 4
    difference(base, models, made, npy=small, max_npy=LARGEST_NPY, force=True)
    if not small:
        say(f"{place}: no diff_*.npy: a dense array is above {LARGEST_NPY:g} GiB; `curricle diff --npy` writes it")
    for name in models:
        for file in sorted((made / name).glob(f"diff_{name}*")):
            where = "diff_stats" if file.name.endswith("_summary.json") else "diff_vectors"
            if file.suffix != ".svg":
                _link(place / where / file.name, file)


def _older(made: Path, models: dict[str, Path]) -> bool:
    return any(model.stat().st_mtime > made.stat().st_mtime for model in models.values())


def _prompts(folder: Path, experts: Sequence[str], seed: int, first: Arm, arms: Sequence[Arm]) -> None:
    """The form of answers side by side; nobody's points are put into it."""
    from ..prompts.compare import compare_prompts

    config = first.settings.merge
    assert config is not None
    if config.num_prompts == 0:
        return
    if world_size() > 1:  # one process is here, and answers are made by all together
        say(f"{folder}: no comparison of prompts by several processes; `curricle prompts compare` writes it")
        return
    untouched = [arm.name for arm in arms if arm.settings.trainer == "none" and arm.settings.merge is None]
    models = [*untouched[:1], *experts, first.name]
    base = untouched[0] if untouched else None
    how: dict[str, Any] = {"num": config.num_prompts, "prompts": config.prompts, "seed": seed}
    try:
        compare_prompts(folder.parents[2], folder, arms=models, base=base, **how)
    except RunError as error:  # points that somebody gave are worth more than a form without them
        say(f"{folder}: {error}")


def _link(link: Path, target: Path) -> None:
    """A relative link, which stays right when the experiment is moved."""
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink() or link.exists():
        link.unlink()
    link.symlink_to(os.path.relpath(target, link.parent))
