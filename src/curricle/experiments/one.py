"""One run: train and save; or a model as it came, that is only measured."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data.table import TokenTable
from ..models.identity import weights_fingerprint
from ..models.value_head import NAME
from ..runtime.files import read_json, write_json
from ..runtime.fingerprint import fingerprint
from ..runtime.quiet import calm_libraries
from ..runtime.ranks import barrier, is_main
from ..training.averaging import average_into
from ..training.checkpoints import whole_or_removed
from ..training.monitors import forget_peak, peak_memory_bytes
from .assemble import make_model, make_trainer
from .chain import charged, started
from .environment import git_revision, versions
from .material import Material
from .ordering import label_flops
from .recipe import Settings
from .references import reference_losses
from .resolve import Arm
from .selecting import to_average
from .tracking.following import followed

BASE = "base.json"
"""What an adapter was trained on."""


@calm_libraries()
def train_run(arm: Arm, material: Material, seed: int, folder: Path) -> dict[str, Any]:
    """Train to the end, from the newest whole checkpoint if there is one; the finished model lies in `model/`.

    A reference model's pass over the rows is charged like labels, and so are the arms whose models this one needs:
    `start_flops` is their part of `label_flops`.
    """
    started = time.perf_counter()
    reference = reference_losses(material, seed, folder)  # before the model is loaded: one of them at a time
    forget_peak()
    model = make_model(material, seed, folder)
    trainer = make_trainer(material, model, seed, folder)
    with followed(folder, arm.settings.training):
        trainer.train(resume_from_checkpoint=True)
    checkpoints = to_average(arm.settings, trainer)
    save_model(trainer, folder / "model", checkpoints)
    note_base(arm.settings, folder)
    last = trainer.monitor.last
    of_others, own = charged(material.settings, folder), label_flops(material.settings)
    own += reference.flops if reference else 0.0
    return about_run(arm, material, seed) | {
        "model": model_size(model, trainer),
        "label_flops": own + of_others,
        "start_flops": of_others,
        "steps": trainer.state.global_step,
        "tokens": last["tokens"],
        "supervised_tokens": last["supervised_tokens"],
        "epochs": last["epoch"],
        "repeats": last["repeats"],
        "train_loss": last["loss"],
        "curve_rows": (about_rows(material.eval) or {}).get("ids_hash"),
        "best_checkpoint": Path(best).name if (best := trainer.state.best_model_checkpoint) else None,
        "averaged": [checkpoint.name for checkpoint in checkpoints] or None,
        "peak_memory_bytes": peak_memory_bytes(),
        "seconds": time.perf_counter() - started,
    }


def untouched_run(arm: Arm, material: Material, seed: int) -> dict[str, Any]:
    """The books of a model that nobody trained: it cost nothing, and all its figures come from measuring."""
    nothing = dict.fromkeys(("steps", "tokens", "supervised_tokens", "epochs", "repeats"), 0)
    lacking = dict.fromkeys(("model", "train_loss", "best_checkpoint", "averaged"), None)
    cost = dict.fromkeys(("label_flops", "start_flops", "seconds"), 0.0)
    return about_run(arm, material, seed) | nothing | lacking | cost | {"peak_memory_bytes": 0}


def about_run(arm: Arm, material: Material, seed: int) -> dict[str, Any]:
    """What a result was made of."""
    return {
        "arm": arm.name,
        "seed": seed,
        "recipe_hash": arm.hash,
        "git": git_revision(),
        "versions": versions(),
        "data": {"train": about_rows(material.train), "eval": about_rows(material.eval)},
    }


def model_size(model: Any, trainer: Any = None) -> dict[str, Any]:
    """The numbers that the formulas of compute go by; with the trainer, of what its steps went through. The old copy
    that a critic compares itself with is no part of the model."""
    config = model.config.get_text_config()
    ends = {
        id(part): part for part in (model.get_input_embeddings(), model.get_output_embeddings()) if part is not None
    }
    embedding = {id(weight): weight for part in ends.values() for weight in part.parameters()}
    named = {name: weight for name, weight in model.named_parameters() if f"{NAME}." not in name or ".old." not in name}
    left = set() if trainer is None else trainer.left
    learning = {id(weight): weight for name, weight in named.items() if weight.requires_grad and name not in left}
    heads = getattr(model.config, "coefficients", [1.0]) if trainer is None else trainer.heads.coefficients
    idle = [weight for name, weight in named.items() if len(heads) == 1 and "extra_heads." in name]
    return {
        "num_parameters": _numel(named.values()),
        "num_trainable": _numel(learning.values()),
        "num_trainable_body": _numel(weight for key, weight in learning.items() if key not in embedding),
        "num_embedding": _numel(embedding.values()),
        "num_idle": _numel(idle),
        "num_layers": config.num_hidden_layers,
        "num_heads": len(heads),
        "hidden": config.hidden_size,
        "vocab": config.vocab_size,
        "recurrence": _recurrence(config),
        "head_learns": _learns(model.get_output_embeddings(), learning, config.hidden_size * config.vocab_size),
        "backward_from": _backward_from(trainer),
    }


def _recurrence(config: Any) -> int | None:
    """What a Mamba layer's recurrence takes for a token, forward; None for attention."""
    if config.model_type == "mamba2":
        return int(5 * config.num_heads * config.head_dim * config.state_size)
    if config.model_type in ("mamba", "falcon_mamba"):
        return int(9 * config.intermediate_size * config.state_size)
    return None


def _numel(weights: Iterable[Any]) -> int:
    return sum(weight.numel() for weight in weights)


def _learns(head: Any, learning: Mapping[int, Any], size: int) -> bool:
    """Whether the matrix itself does: factors beside it, of an adapter, are smaller."""
    weights = () if head is None else head.parameters()
    return any(id(weight) in learning and weight.numel() >= size for weight in weights)


def _backward_from(trainer: Any) -> str:
    """Where gradients of activations begin: at the output head; at the trunk, of which a critic alone reads values; or
    nowhere, where nothing but that critic's head learns."""
    critic = None if trainer is None else trainer.critic
    if critic is None or not critic.config.pretrains:
        return "head"
    return "trunk" if critic.config.moves_trunk else "nowhere"


def save_model(trainer: Any, target: Path, averaged: Sequence[Path] = ()) -> None:
    """The model as transformers and PEFT save it, whole or not at all; without the pickle of arguments beside it. With
    checkpoints, its weights are their mean."""
    partial = target.with_name(f".{target.name}.partial")
    if is_main():
        shutil.rmtree(partial, ignore_errors=True)
    barrier()
    with whole_or_removed(partial):
        trainer.save_model(str(partial))
        if averaged and is_main():
            average_into(partial, averaged)
    barrier()
    if is_main():
        (partial / "training_args.bin").unlink(missing_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(partial, target)
    barrier()


def note_base(settings: Settings, folder: Path) -> None:
    """Beside an adapter which weights it was trained on, so that it is never added to others."""
    about = folder / "model" / "adapter_config.json"
    if not is_main() or not about.is_file():
        return
    beside = folder / "base"
    name = str(beside) if beside.is_dir() else read_json(about)["base_model_name_or_path"]
    config = started(settings.model, folder).model_copy(update={"name_or_path": name, "shape": {}})
    found = weights_fingerprint(config)
    write_json(folder / "model" / BASE, {"name_or_path": name, "fingerprint": found})


def about_rows(table: TokenTable | None) -> dict[str, Any] | None:
    """Which examples a table holds, by hash, and how they were read."""
    if table is None:
        return None
    return {
        "examples": len(table),
        "tokens": int(table.offsets[-1]),
        "squared_lengths": int((table.lengths**2).sum()),  # a token's attention goes by its own document
        "ids_hash": fingerprint(table.ids[:]),
        "report": table.report,
    }
