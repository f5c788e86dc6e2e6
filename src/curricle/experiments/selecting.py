"""What a trainer measures on answers while it trains, which checkpoint becomes the model, and when to stop early."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import RecipeError
from ..evaluation.selection import watch_generation
from ..runtime.progress import say
from ..training.config import SelectionConfig
from .material import Material, run_length
from .recipe import Settings


def selection(material: Material, arguments: Any, seed: int) -> dict[str, Any]:
    """The trainer's extra arguments; `arguments` learn which figure is the best one and when to save."""
    settings = material.settings
    extras = _kept(settings.selection, arguments)
    if material.eval is None:
        return extras
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


def _kept(chosen: SelectionConfig, arguments: Any) -> dict[str, Any]:
    """Checkpoints that are to be averaged are kept by us; where all are kept there is nothing to do."""
    if chosen.average is None or arguments.save_total_limit is None:
        return {}
    from ..training.averaging import KeepScheduled

    limit, arguments.save_total_limit = arguments.save_total_limit, None
    return {"callbacks": [KeepScheduled(limit)]}


def refuse_too_few(material: Material, seed: int) -> None:
    """An average of more checkpoints than the run will save; its length is asked of the data only where it must be."""
    settings = material.settings
    if settings.selection.average is None or not settings.trains:
        return
    length, training = run_length(material, seed), settings.training
    by_epoch = training["save_strategy"] == "epoch"
    every = length.steps_per_epoch if by_epoch else training["save_steps"]
    problem = settings.selection.too_few(length.max_steps, every)
    if problem is not None:
        raise RecipeError(f"`{'.'.join(problem[0])}` {problem[1]}")


def to_average(settings: Settings, trainer: Any) -> list[Path]:
    """The checkpoints whose mean the finished model is; none where it is that of one step."""
    if settings.selection.average is None:
        return []
    from ..training.averaging import last_checkpoints

    state = trainer.state
    return last_checkpoints(trainer.folder, settings.selection.average, int(state.save_steps), state.max_steps)


def _keep_best(arguments: Any, metric: str, higher: bool) -> None:
    """The host can only keep a checkpoint that exists where the metric was measured."""
    arguments.load_best_model_at_end = True
    arguments.metric_for_best_model = f"eval_{metric}"
    arguments.greater_is_better = higher
    if (arguments.save_strategy, arguments.save_steps) != (arguments.eval_strategy, arguments.eval_steps):
        say(f"selection: checkpoints are saved where data.eval is measured, every {arguments.eval_steps} steps")
    arguments.save_strategy, arguments.save_steps = arguments.eval_strategy, arguments.eval_steps
