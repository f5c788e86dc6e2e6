"""Finished runs as they lie in a folder, with figures chosen by the test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from curricle.experiments.comparison.facts import ArmFacts, read_arm
from curricle.runtime.files import write_json
from curricle.runtime.logs import JsonLog

SIZE = {
    "num_parameters": 1000,
    "num_trainable": 1000,
    "num_embedding": 200,
    "num_layers": 2,
    "hidden": 8,
    "vocab": 25,
}


def write_run(
    folder: Path,
    *,
    scores: Mapping[str, Sequence[float]] | None = None,
    metrics: Mapping[str, float] | None = None,
    lower: Sequence[str] = ("loss",),
    ids: Sequence[str] | None = None,
    weights: Sequence[float] | None = None,
    unit: str = "",
    settings: Mapping[str, Any] | None = None,
    tokens: int = 4000,
    **results: Any,
) -> None:
    """A run whose figures are the weighted means of `scores`, and beside them `metrics` without a value an example."""
    scores = scores or {}
    figures = {name: float(np.average(values, weights=weights)) for name, values in scores.items()} | dict(
        metrics or {}
    )
    seed = int(folder.name.removeprefix("seed-"))
    info = {"note": "", "unit": unit} | ({"range": results.pop("range")} if "range" in results else {})
    about = {name: info | {"higher_is_better": name not in lower} for name in figures}
    write_json(folder / "arm.json", {"arm": folder.parent.name, "hash": "h", "settings": dict(settings or {})})
    write_json(
        folder / "results.json",
        {
            "arm": folder.parent.name,
            "seed": seed,
            "recipe_hash": "h",
            "git": None,
            "versions": {"torch": "2.13"},
            "data": {
                "train": {"examples": 40, "tokens": 400, "ids_hash": "t"},
                "eval": {"examples": 4, "tokens": 40, "ids_hash": "e"},
            },
            "model": SIZE,
            "label_flops": 0.0,
            "steps": 4,
            "tokens": tokens,
            "supervised_tokens": 1000,
            "epochs": 2.0,
            "repeats": 10,
            "seconds": 9.0,
            "peak_memory_bytes": 2**30,
            "measured": "m",
            "metrics": figures,
            "metric_info": about,
            **results,
        },
    )
    if scores:
        names = list(ids) if ids is not None else [f"id{i}" for i in range(len(next(iter(scores.values()))))]
        each = {
            name: {"values": list(values), "weights": None if weights is None else list(weights), "transform": "none"}
            for name, values in scores.items()
        }
        write_json(folder / "scores.json", {"ids": names, "scores": each})


def write_logs(
    folder: Path,
    losses: Sequence[float] = (4.0, 3.0, 2.0, 1.0),
    heldout: Sequence[tuple[int, float]] = (),
    norms: Sequence[float] | None = None,
    rates: Sequence[float] | None = None,
) -> None:
    """A line a step of 1,000 tokens and 2 seconds, two steps an epoch; and evaluations as (step, loss)."""
    with_norms = zip(losses, norms or [1.0] * len(losses), rates or [1e-3] * len(losses), strict=True)
    log = JsonLog(folder / "metrics.jsonl")
    for i, (loss, norm, rate) in enumerate(with_norms):
        row = {"step": i + 1, "loss": loss, "grad_norm": norm, "learning_rate": rate, "epoch": (i + 1) / 2}
        row |= {"step_supervised_tokens": 100, "tokens": 1000 * (i + 1), "seconds": 2.0, "clipped": norm > 1}
        log.append(row)
    log.close()
    log = JsonLog(folder / "heldout.jsonl")
    for step, value in heldout:
        log.append({"step": step, "what": "eval", "tokens_trained": 1000 * step, "loss": value})
    log.close()


def write_arm(folder: Path, figures: Mapping[int, Mapping[str, Sequence[float]]], **more: Any) -> ArmFacts:
    """An arm with a run a seed."""
    for seed, scores in figures.items():
        write_run(folder / f"seed-{seed}", scores=scores, **more)
    return read_arm(folder)


def noisy(
    seed: int, num: int = 60, shift: float = 0.0, spread: float = 0.1, name: str = "rouge.sum"
) -> dict[str, list[float]]:
    """Examples that are alike for every seed, with a little noise of the seed's own."""
    shared = np.random.default_rng(99).normal(40.0, 10.0, num)
    own = np.random.default_rng(seed).normal(0.0, spread, num)
    return {name: (shared + own + shift).tolist()}
