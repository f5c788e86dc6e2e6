"""From a difference per layer to one number an example.

    mean            over layers
    max             the layer that differs most
    topk_mean       mean of the `top_k` largest
    weighted_mean   layer l of L weighs l / L, so deeper layers weigh more

Each layer is first put on one scale over the data set; else a deep layer with large norms would decide every `max`.
Within an example mean <= topk_mean <= max.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..errors import DataError

Floats = npt.NDArray[np.float32]
Normalize = Literal["zscore", "rank", "none"]

SCORES = ("mean", "max", "topk_mean", "weighted_mean")
ROUNDING = 1e-6
"""A spread below this is that of float32, which standardising would blow up to a difficulty: a model is compared with
itself, or a layer is the same in both."""


def scores(
    layers_nl: Floats,
    ids: Sequence[str],
    *,
    top_k: int = 3,
    weights: Sequence[float] | None = None,
    normalize: Normalize = "zscore",
) -> dict[str, Floats]:
    """All four scores. `weights` are those of `weighted_mean`, one a layer."""
    refuse_unknown(layers_nl, ids)
    scaled_nl = normalized(layers_nl, normalize)
    num_layers = scaled_nl.shape[1]
    heavy = np.arange(1, num_layers + 1) / num_layers if weights is None else np.asarray(weights, dtype=np.float64)
    if len(heavy) != num_layers or not heavy.sum() > 0 or (heavy < 0).any():
        raise DataError(f"{len(heavy)} weights for {num_layers} layers; give one a layer, none below 0, not all 0")
    largest_nk = np.sort(scaled_nl, axis=1)[:, -min(top_k, num_layers) :]
    mean_n, top_n, max_n = scaled_nl.mean(1), largest_nk.mean(1), scaled_nl.max(1)
    top_n = np.clip(top_n, mean_n, max_n)  # equal but for rounding, where all layers are
    found = {"mean": mean_n, "max": max_n, "topk_mean": top_n, "weighted_mean": scaled_nl @ (heavy / heavy.sum())}
    return {name: values.astype(np.float32) for name, values in found.items()}


def normalized(layers_nl: Floats, how: Normalize) -> npt.NDArray[np.float64]:
    """Each layer over the data set: standardised, as percentile ranks in [0, 1], or as it is."""
    values = layers_nl.astype(np.float64)
    if how == "none":
        return values
    spread_l = values.std(0)
    values = np.where(spread_l > ROUNDING, values, values.mean(0))
    if how == "zscore":
        return (values - values.mean(0)) / np.where(spread_l > ROUNDING, spread_l, 1.0)
    from scipy.stats import rankdata

    return (rankdata(values, axis=0) - 1) / max(1, len(values) - 1)


def refuse_unknown(layers_nl: Floats, ids: Sequence[str]) -> None:
    """A difference that is no number would spoil every example's score through the standardising."""
    good = np.isfinite(layers_nl)
    if good.all():
        return
    rows = ~good.all(1)
    at = int(np.argmax(rows))
    layer = int(np.argmin(good[at])) + 1
    raise DataError(
        f"example `{ids[at]}` has {layers_nl[at, layer - 1]} as its difference at layer {layer} ({int(rows.sum())} of "
        f"{len(ids)} examples have such a one); look at the models' states: do they overflow in half precision?"
    )
