"""The losses that a reference model has on the training tokens: one pass over the table, kept by fingerprint.

A reference is compared with token by token, so its vocabulary must be the trained model's: the same text behind every
id. Its weights, its vocabulary and the table decide about its losses, and nothing else does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..data.rows import Rows
from ..errors import ModelError, RunError
from ..models.config import ModelConfig
from ..runtime.cache import cache_root
from ..runtime.devices import computing
from ..runtime.files import atomic_folder, read_json, write_json
from ..runtime.fingerprint import fingerprint
from ..runtime.progress import say
from ..runtime.ranks import barrier, is_main, shared
from ..training.config import DistributedConfig
from .assemble import make_model
from .chain import model_folder, reference_arm
from .labels.scoring import trained_folder
from .material import Material, half_of
from .toys.base import make_base, place_base

if TYPE_CHECKING:
    from pathlib import Path

    from .recipe import Settings

VERSION = 1
"""Changes when the same input would give other losses."""


@dataclass(frozen=True)
class ReferenceLosses:
    """What one reference model makes of the training table."""

    loss_t: npt.NDArray[np.float32]
    """Aligned with the table's tokens; NaN where nothing is learned."""
    flops: float
    """What the pass costs, whether it was made for this run or found."""


def reference_model(settings: Settings, folder: str | Path) -> ModelConfig | None:
    """How the reference is loaded: like the trained model, but whole and as it was saved."""
    config = settings.weighting
    if config.kind != "reference_excess" or config.reference is None or not settings.trains:
        return None
    whole: dict[str, Any] = dict.fromkeys(
        ("adapter", "lora_gen", "quantization", "pad_token", "revision", "mtp", "from_arm")
    )
    arm = reference_arm(settings)
    with _by_its_key(config.reference):
        name = trained_folder(config.reference) if arm is None else str(model_folder(arm, folder))
    changes = whole | {"name_or_path": name, "from_arm": None, "dtype": config.reference_dtype, "shape": {}}
    known = {name: value for name, value in changes.items() if name in ModelConfig.model_fields}
    model = place_base(settings.model.model_copy(update=known))
    if model.nano_type:
        raise ModelError(f"weighting.reference is {config.reference}, random numbers; name a model that is trained")
    return model


def check_reference(material: Material) -> None:
    """Refuse a reference with other tokens, before anything is loaded."""
    from ..models.loading import load_tokenizer

    if reference_arm(material.settings) is not None:  # it is trained by the same recipe, from the same model
        return
    reference = reference_model(material.settings, ".")
    if reference is None:
        return
    make_base(reference)
    with _by_its_key(str(material.settings.weighting.reference)):
        theirs = load_tokenizer(reference, need_pad=False)
    own_hash, their_hash = vocabulary_hash(material.tokenizer), vocabulary_hash(theirs)
    if own_hash != their_hash:
        raise ModelError(
            f"weighting.reference {material.settings.weighting.reference} has another tokenizer, of {len(theirs):,} "
            f"tokens ({their_hash}), than the trained model, {len(material.tokenizer):,} ({own_hash}); losses are "
            "compared token by token, so name a model with the same vocabulary"
        )


@contextmanager
def _by_its_key(reference: str) -> Iterator[None]:
    """What is wrong with the reference is said of `weighting.reference`, not of the trained model's key."""
    try:
        yield
    except (ModelError, RunError) as error:
        said = str(error).replace("model.name_or_path is", "weighting.reference is")
        known = "weighting.reference" in said
        raise ModelError(said if known else f"weighting.reference is {reference}: {said}") from error


def vocabulary_hash(tokenizer: Any) -> str:
    """Of which text stands behind which id; chat templates and special roles do not matter here."""
    return fingerprint(tokenizer.get_vocab())


def reference_losses(material: Material, seed: int, folder: str | Path) -> ReferenceLosses | None:
    """From the cache, or by one pass over the training table; None where the recipe names no reference."""
    reference = reference_model(material.settings, folder)
    if reference is None:
        return None
    check_reference(material)
    kept = cache_root() / "reference-losses" / _key(material, reference)
    if not shared(kept.is_dir()):  # as one of the ranks may be about to write it
        _measure(material, reference, seed, folder, kept)
    loss_t = np.memmap(kept / "losses.bin", dtype=np.float32, mode="r")
    return ReferenceLosses(loss_t, float(read_json(kept / "about.json")["flops"]))


def _key(material: Material, reference: ModelConfig) -> str:
    from ..models.identity import weights_fingerprint
    from ..training.rows import tokens_identity

    weights = weights_fingerprint(reference) or reference.name_or_path
    parts = (weights, vocabulary_hash(material.tokenizer), tokens_identity(material.train), reference.dtype)
    return fingerprint("reference", VERSION, *parts, half_of(material.settings))


def _measure(material: Material, reference: ModelConfig, seed: int, folder: str | Path, kept: Path) -> None:
    from ..models.likelihood import token_losses_of

    settings, table = material.settings, material.train
    say(f"reading the training rows with {settings.weighting.reference}, once for all runs")
    plain = settings.model_copy(update={"model": reference, "critic": None, "distributed": DistributedConfig()})
    model = make_model(replace(material, settings=plain), seed, folder)
    with computing(next(model.parameters()).device, half_of(settings)):
        batch_size = settings.training["per_device_train_batch_size"]
        rows = Rows(settings.data.max_length, settings.data.packing, settings.data.lookahead, material.pad_id)
        found = token_losses_of(model, table, rows, batch_size=batch_size)
    loss_t = np.full(len(table.tokens), np.nan, dtype=np.float32)
    loss_t[np.asarray(table.supervised)] = found.values
    if not np.isfinite(found.values).all():
        raise ModelError(
            f"weighting.reference {settings.weighting.reference} gives losses that are no numbers; load it in another "
            "precision with weighting.reference_dtype"
        )
    if is_main() and not kept.is_dir():
        flops = 2.0 * sum(weight.numel() for weight in model.parameters()) * len(table.tokens)
        with atomic_folder(kept) as scratch:
            loss_t.tofile(scratch / "losses.bin")
            write_json(scratch / "about.json", {"flops": flops, "model": settings.weighting.reference})
    barrier()
