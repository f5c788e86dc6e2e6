"""What a trainer measures on answers while it trains, which checkpoint becomes the model, and when to stop early."""

from __future__ import annotations

from typing import Any

from ..evaluation.selection import watch_generation
from ..runtime.progress import say
from .material import Material


def selection(material: Material, arguments: Any, seed: int) -> dict[str, Any]:
    """The trainer's extra arguments; `arguments` learn which figure is the best one and when to save."""
    settings = material.settings
    if material.eval is None:
        return {}
    extras: dict[str, Any] = {}
    entries = settings.watched()
    if entries:
        assert material.prompts is not None  # gathered because something is watched
        extras["eval_extras"] = watch_generation(
            material.prompts, material.tokenizer, settings.generation, entries, seed
        )
    chosen = settings.selection
    if chosen.metric is None:
        return extras
    higher = any(chosen.metric in entry.figures() and entry.higher_is_better for entry in entries)
    _keep_best(arguments, chosen.metric, higher)
    if chosen.patience is not None:
        from ..training.patience import Patience

        extras["patience"] = Patience(f"eval_{chosen.metric}", higher, chosen.patience, chosen.min_delta)
    return extras


def _keep_best(arguments: Any, metric: str, higher: bool) -> None:
    """The host can only keep a checkpoint that exists where the metric was measured."""
    arguments.load_best_model_at_end = True
    arguments.metric_for_best_model = f"eval_{metric}"
    arguments.greater_is_better = higher
    if (arguments.save_strategy, arguments.save_steps) != (arguments.eval_strategy, arguments.eval_steps):
        say(f"selection: checkpoints are saved where data.eval is measured, every {arguments.eval_steps} steps")
    arguments.save_strategy, arguments.save_steps = arguments.eval_strategy, arguments.eval_steps
