"""One step of everything, at the longest row: what would break after hours breaks in the first minute."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..runtime.progress import say
from ..runtime.quiet import calm_libraries
from ..runtime.ranks import barrier, is_main, shared
from ..training.checkpoints import checkpoints
from ..training.monitors import peak_memory_bytes
from .assemble import look_ahead, make_model, make_trainer
from .chain import needs
from .labels.making import request, tried
from .material import Material, gather
from .measuring import measure_run
from .one import note_base, save_model
from .recipe import Settings
from .resolve import Arm, Experiment
from .results import render


@dataclass(frozen=True)
class Smoke:
    """What was tried, arm by arm."""

    name: str
    rows: list[dict[str, Any]] = field(default_factory=list)

    def __str__(self) -> str:
        tried = "longest row, step, checkpoint, resume, save, load"
        return f"{render(self.rows)}\n\nevery part of {self.name} ran once: {tried}"


def smoke_experiment(experiment: Experiment) -> Smoke:
    """Each arm with its first seed, in a folder that is thrown away."""
    seed, rows = experiment.seeds[0], []
    needed = {other for arm in experiment.arms.values() for other in needs(arm.settings).values()}
    with _scratch() as scratch:
        for arm in experiment.in_order():
            rows.append(_try(arm, seed, experiment.folder, scratch / arm.name / f"seed-{seed}"))
            if arm.name not in needed and is_main():
                shutil.rmtree(scratch / arm.name)
    return Smoke(experiment.name, rows)


@contextmanager
def _scratch() -> Iterator[Path]:
    """One folder for all ranks, which the first one makes and throws away when all are done."""
    with ExitStack() as stack:
        own = stack.enter_context(tempfile.TemporaryDirectory(prefix="curricle-smoke-")) if is_main() else ""
        yield Path(shared(own))
        barrier()


@calm_libraries()
def _try(arm: Arm, seed: int, runs: Path, folder: Path) -> dict[str, Any]:
    started = time.perf_counter()
    brief = arm.settings.training | {"max_steps": 1, "save_steps": 1, "save_strategy": "steps", "report_to": "none"}
    if arm.settings.data.eval is not None:
        brief |= {"eval_strategy": "steps", "eval_steps": 1}
    once = arm.settings.selection.model_copy(update={"average": None})  # two checkpoints are all that there will be
    short = arm.settings.model_copy(update={"training": brief, "selection": once})
    material = gather(short)
    if is_main():
        folder.mkdir(parents=True)
    barrier()
    material = tried(material, request(short, runs), folder)
    look_ahead(material, seed, folder)
    loss = _trained(arm, short, material, seed, folder) if arm.settings.trains else None
    if loss is None:
        _untrained(arm, material, seed, folder)
    measured = measure_run(material, seed, folder) if material.eval is not None else {}
    return {
        "arm": arm.name,
        "loss": loss,
        "eval_loss": measured.get("metrics", {}).get("loss"),
        "peak_GiB": peak_memory_bytes() / 2**30,
        "seconds": time.perf_counter() - started,
    }


def _trained(arm: Arm, short: Settings, material: Material, seed: int, folder: Path) -> float:
    """Two steps, the second after a resume; the loss of the last."""
    for steps in (1, 2):  # the second goes on from the first one's checkpoint
        say(f"smoke {arm.name}: step {steps}")
        short.training["max_steps"] = steps
        model = make_model(material, seed, folder)
        trainer = make_trainer(material, model, seed, folder)
        trainer.train(resume_from_checkpoint=True)
    save_model(trainer, folder / "model", checkpoints(folder) if arm.settings.selection.average else ())
    note_base(short, folder)
    return float(trainer.monitor.last["loss"])


def _untrained(arm: Arm, material: Material, seed: int, folder: Path) -> None:
    """A model that is measured as it is; or a merge of what the other arms left, all alike, as a search takes many
    passes over the rows."""
    if arm.settings.merge is None:
        say(f"smoke {arm.name}: the model as it is")
        return
    from .share.merged import write_merged

    say(f"smoke {arm.name}: merging {', '.join(arm.settings.merge.arms)}")
    merge = arm.settings.merge
    same = {name: 1 / len(merge.arms) for name in merge.arms} if isinstance(merge.weights, str) else merge.weights
    write_merged(merge, material, seed, folder, lambda base, experts: (same, 0.0))
