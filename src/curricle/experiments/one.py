"""One run: train, save, measure."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

from ..runtime.devices import computing
from ..runtime.fingerprint import fingerprint
from ..runtime.quiet import calm_libraries
from ..runtime.ranks import barrier, is_main
from ..training.checkpoints import whole_or_removed
from ..training.monitors import peak_memory_bytes
from .assemble import Material, make_model, make_trainer
from .environment import git_revision, versions
from .resolve import Arm


@calm_libraries()
def train_run(arm: Arm, material: Material, seed: int, folder: Path) -> dict[str, Any]:
    """Train to the end, from the newest whole checkpoint if there is one; the finished model lies in `model/`."""
    started = time.perf_counter()
    model = make_model(material, seed, folder)
    trainer = make_trainer(material, model, seed, folder)
    trainer.train(resume_from_checkpoint=True)
    save_model(trainer, folder / "model")
    last = trainer.monitor.last
    return {
        "arm": arm.name,
        "seed": seed,
        "recipe_hash": arm.hash,
        "git": git_revision(),
        "versions": versions(),
        "data": {"train": _about(material.train), "eval": _about(material.eval) if material.eval else None},
        "steps": trainer.state.global_step,
        "tokens": last["tokens"],
        "supervised_tokens": last["supervised_tokens"],
        "epochs": last["epoch"],
        "repeats": last["repeats"],
        "train_loss": last["loss"],
        "best_checkpoint": Path(best).name if (best := trainer.state.best_model_checkpoint) else None,
        "peak_memory_bytes": peak_memory_bytes(),
        "seconds": time.perf_counter() - started,
    }


@calm_libraries()
def measure_run(material: Material, seed: int, folder: Path) -> dict[str, Any]:
    """The held-out loss of the saved model: what is measured is what anybody can load."""
    from ..models.head import HeadTap
    from ..training.heldout import heldout_metrics
    from .assemble import half_of, load_saved, rows_of

    assert material.eval is not None  # the recipe was checked for it
    model = load_saved(material, seed, folder)
    batch_size = material.settings.training["per_device_eval_batch_size"]
    with computing(next(model.parameters()).device, half_of(material.settings)):
        metrics = heldout_metrics(model, material.eval, rows_of(material), HeadTap(model), batch_size)
    return {f"eval_{name}": value for name, value in metrics.items()}


def save_model(trainer: Any, target: Path) -> None:
    """The model as transformers and PEFT save it, whole or not at all; without the pickle of arguments beside it."""
    partial = target.with_name(f".{target.name}.partial")
    if is_main():
        shutil.rmtree(partial, ignore_errors=True)
    barrier()
    with whole_or_removed(partial):
        trainer.save_model(str(partial))
    barrier()
    if is_main():
        (partial / "training_args.bin").unlink(missing_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(partial, target)
    barrier()


def _about(table: Any) -> dict[str, Any]:
    return {
        "examples": len(table),
        "tokens": int(table.offsets[-1]),
        "ids_hash": fingerprint(table.ids[:]),
        "report": table.report,
    }
