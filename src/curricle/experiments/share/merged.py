"""An arm that is merged out of other arms: its weights named, or found by held-out loss, and its model written."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import RunError
from ...experts.checkpoint import Checkpoint
from ...experts.merging import MergeSettings, merge
from ...experts.reading import read_difference
from ...models.config import ModelConfig
from ...models.loading import weights_folder
from ...runtime.devices import computing
from ...runtime.files import read_json
from ...runtime.progress import say
from ...runtime.quiet import calm_libraries
from ...runtime.ranks import barrier, is_main
from ...training.monitors import forget_peak, peak_memory_bytes
from ..assemble import make_model, saved_base
from ..chain import charged, model_folder
from ..generator import untrained
from ..material import Material, half_of, rows_of
from ..one import about_run, model_size
from ..resolve import Arm
from .config import MergeConfig
from .validation import validation_rows

SEARCH = "search"
Weigh = Callable[[Path, dict[str, Path]], tuple[dict[str, float], float]]


@calm_libraries()
def merged_run(arm: Arm, material: Material, seed: int, folder: Path) -> dict[str, Any]:
    """The merged model in `model/`, with `merge.json` beside the weights; a search in `search/`. The arms that it
    is made of are charged to it, and so is the search."""
    started = time.perf_counter()
    forget_peak()
    config = arm.settings.merge
    assert config is not None
    weights, spent = write_merged(
        config,
        material,
        seed,
        folder,
        lambda base, experts: _weights(config, material, base, experts, seed, folder),
    )
    of_others = charged(arm.settings, folder)
    return about_run(arm, material, seed) | {
        **dict.fromkeys(("steps", "tokens", "supervised_tokens", "epochs", "repeats"), 0),
        **dict.fromkeys(("model", "train_loss", "best_checkpoint", "averaged"), None),
        "weights": weights,
        "label_flops": of_others + spent,
        "start_flops": of_others,
        "peak_memory_bytes": peak_memory_bytes(),
        "seconds": time.perf_counter() - started,
    }


def write_merged(
    config: MergeConfig, material: Material, seed: int, folder: Path, weigh: Weigh
) -> tuple[dict[str, float], float]:
    """The model of a merge in `folder/model`; what `weigh` says each arm counts, and what finding that out cost."""
    base = base_folder(material, seed, folder)
    experts = {name: model_folder(name, folder) for name in config.arms}
    weights, spent = weigh(base, experts)
    if is_main():
        settings = MergeSettings(density=None if config.method == "linear" else config.density)
        merge(
            base,
            experts,
            folder / "model",
            weights=weights,
            method=config.method,
            normalize=config.normalize,
            settings=settings,
            force=True,
        )
        material.tokenizer.save_pretrained(folder / "model")
    barrier()
    return weights, spent


def base_folder(material: Material, seed: int, folder: Path) -> Path:
    """Where the weights lie that every expert started from. Those of a nano model are made again: its numbers follow
    from the seed."""
    from ..assemble import base_is_ours
    from ..chain import started

    config = started(material.settings.model, folder).model_copy(update={"adapter": None})
    if base_is_ours(config):
        config = saved_base(config, material, seed, folder / "base")
    found = weights_folder(config)
    if found is None:
        raise RunError(
            f"the weights of {config.name_or_path} are neither in a folder nor in the hub's cache; load it once"
        )
    return found


def _weights(
    config: MergeConfig, material: Material, base: Path, experts: dict[str, Path], seed: int, folder: Path
) -> tuple[dict[str, float], float]:
    """What each expert counts, and the FLOPs that finding it out took."""
    if isinstance(config.weights, dict):
        return config.weights, 0.0
    if config.weights == "uniform":
        return dict.fromkeys(experts, 1 / len(experts)), 0.0
    if config.weights == "shares":
        tokens = {name: read_json(path.parent / "results.json")["tokens"] for name, path in experts.items()}
        return {name: each / sum(tokens.values()) for name, each in tokens.items()}, 0.0
    return _searched(config, material, base, experts, seed, folder)


def _searched(
    config: MergeConfig, material: Material, base: Path, experts: dict[str, Path], seed: int, folder: Path
) -> tuple[dict[str, float], float]:
    from ...experts.search import search_weights

    table = validation_rows(config, material)
    opened = Checkpoint(base)
    differences = {name: read_difference(path, opened, name=name) for name, path in experts.items()}
    model = make_model(_whole(material, base), seed, folder)
    settings = config.search.model_copy(update={"normalize": config.normalize})
    with computing(next(model.parameters()).device, half_of(material.settings)):
        found = search_weights(
            model,
            differences,
            table,
            rows_of(material),
            settings,
            folder / SEARCH,
            test=material.eval,
            base=opened.fingerprint(),
            on_other="aside",
        )
    say(f"{folder}: {', '.join(f'{name} {weight:.3f}' for name, weight in found.weights.items())}")
    size = model_size(model)
    body = size["num_parameters"] - size["num_embedding"]
    answers = int(table.num_supervised[:].sum())
    once = 2.0 * body * int(table.offsets[-1]) + 2.0 * size["hidden"] * size["vocab"] * answers
    return dict(found.weights), once * found.passes


def _whole(material: Material, base: Path) -> Material:
    """The same arm on the base alone."""
    bare = untrained(material)
    model: ModelConfig = bare.settings.model.model_copy(
        update={"name_or_path": str(base), "shape": {}, "from_arm": None, "mtp": None}
    )
    return replace(bare, settings=bare.settings.model_copy(update={"model": model}))
