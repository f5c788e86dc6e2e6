"""Optimizer and schedule, built once on one weight: what they would refuse after hours is refused at once."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..errors import MissingExtra, RecipeError

if TYPE_CHECKING:
    from transformers import TrainingArguments

STEPS = 1000
"""Of the run that the schedule is asked about."""


def rehearse(arguments: TrainingArguments) -> None:
    """Make the optimizer and the schedule of these arguments; an error of theirs is one line with its keys."""
    name = getattr(arguments.optim, "value", arguments.optim)
    try:
        optimizer = _optimizer(arguments)
    except ImportError as error:
        raise MissingExtra(f"`training.optim: {name}` cannot be had here: {_flat(error)}") from error
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        raise RecipeError(
            f"`training.optim: {name}` with `optim_args: {arguments.optim_args}` cannot be made: {_flat(error)}"
        ) from error
    schedule = getattr(arguments.lr_scheduler_type, "value", arguments.lr_scheduler_type)
    try:
        _ask_schedule(arguments, optimizer)
    except (ValueError, TypeError, KeyError, ZeroDivisionError) as error:
        raise RecipeError(
            f"`training.lr_scheduler_type: {schedule}` with `lr_scheduler_kwargs: {arguments.lr_scheduler_kwargs}` "
            f"cannot be made: {_flat(error)}"
        ) from error


def _optimizer(arguments: TrainingArguments) -> Any:
    """The optimizer over one weight. Those that look for modules by name in a model need the real one: of them only
    the package is tried, and a plain optimizer stands in."""
    import torch
    from transformers import Trainer

    weight = torch.nn.Parameter(torch.zeros(2, 2))
    if arguments.optim_target_modules is not None:
        with suppress(ValueError):  # no such module in this one
            Trainer.get_optimizer_cls_and_kwargs(arguments, torch.nn.Linear(2, 2))  # type: ignore[arg-type]
        return torch.optim.SGD([weight], lr=arguments.learning_rate)
    kind, settings = Trainer.get_optimizer_cls_and_kwargs(arguments)
    return kind([weight], **settings)


def _ask_schedule(arguments: TrainingArguments, optimizer: Any) -> None:
    """Its rate at the first step, in the middle and at the end."""
    from transformers import get_scheduler

    schedule = get_scheduler(
        arguments.lr_scheduler_type,
        optimizer=optimizer,
        num_warmup_steps=arguments.get_warmup_steps(STEPS),
        num_training_steps=STEPS,
        scheduler_specific_kwargs=arguments.lr_scheduler_kwargs,  # type: ignore[arg-type]
    )
    for rate in getattr(schedule, "lr_lambdas", ()):
        float(rate(STEPS // 2)), float(rate(STEPS))


def _flat(error: Exception) -> str:
    return " ".join(str(error).split())[:240]
