"""Measuring a finished run: its saved model, loaded as anybody would load it, on the recipe's held-out rows.

Everything a recipe asks for comes together here: one generation for all text metrics, the model's own likelihoods, and
a value an example wherever a figure has one, kept in `scores.json` for the intervals of a comparison.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np

from ..evaluation.config import Loss, Measurement
from ..evaluation.measure import Measured, labelled
from ..evaluation.score import Score
from ..runtime.devices import computing
from ..runtime.files import write_json
from ..runtime.quiet import calm_libraries
from ..runtime.ranks import is_main
from .assemble import Material, half_of, load_saved, rows_of
from .resolve import measuring_hash

ROW_ID = 16
"""Digits of a row's id; what follows names a window or a turn of it."""


@calm_libraries()
def measure_run(material: Material, seed: int, folder: Path) -> dict[str, Any]:
    """Every figure that the recipe asks for; what is measured is what anybody can load."""
    assert material.eval is not None  # the recipe was checked for it
    started = time.perf_counter()
    model = load_saved(material, seed, folder)
    with computing(next(model.parameters()).device, half_of(material.settings)):
        measured, more = measure_model(material, model, folder)
    if is_main():
        write_json(folder / "scores.json", measured.per_example())
    return more | {
        "metrics": measured.metrics(),
        "metric_info": measured.info(),
        "measured": measuring_hash(material.settings),
        "measuring_seconds": time.perf_counter() - started,
    }


def measure_model(material: Material, model: Any, folder: Path) -> tuple[Measured, dict[str, Any]]:
    """All entries of `evaluation`, in the recipe's order."""
    ids = list(dict.fromkeys(name[:ROW_ID] for name in material.eval.ids[:]))
    scores: dict[str, Score] = {}
    more: dict[str, Any] = {}
    for entry in material.settings.evaluation:
        if isinstance(entry, Loss):
            found, by_domain = _loss(material, model, entry, ids)
            scores |= found
            more["domain_loss"] = by_domain
    return Measured(ids, scores), more


def _loss(
    material: Material, model: Any, entry: Measurement, ids: list[str]
) -> tuple[dict[str, Score], dict[str, float]]:
    """The token-weighted loss of the answers: a row's windows or turns are summed."""
    from ..models.head import HeadTap
    from ..training.heldout import heldout_books, heldout_totals

    batch_size = material.settings.training["per_device_eval_batch_size"]
    books = heldout_books(model, material.eval, rows_of(material), HeadTap(model), batch_size)
    totals, place = heldout_totals(books), {name: i for i, name in enumerate(ids)}
    sums, counts = np.zeros(len(ids)), np.zeros(len(ids))
    for i, loss, count in books.by_example():
        row = place[material.eval.ids[i][:ROW_ID]]
        sums[row] += loss
        counts[row] += count
    means = sums / np.maximum(counts, 1)
    note = "mean over answer tokens"
    loss = Score("loss", totals["loss"], means, counts, higher_is_better=False, note=note)
    perplexity = Score(
        "perplexity", math.exp(min(totals["loss"], 700.0)), means, counts, "exp", higher_is_better=False, note=note
    )
    return labelled(entry, [loss, perplexity]), totals["domain_loss"]
