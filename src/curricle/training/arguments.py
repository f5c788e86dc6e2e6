"""From the `training:` section of a recipe to the arguments of its trainer.

Both trainers get the same values: what a recipe leaves open is set here, never by `SFTConfig` (whose own defaults turn
on bf16 and activation checkpointing) nor by `TrainingArguments` (whose learning rate is another one).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import TypeAdapter, ValidationError

from ..errors import MissingExtra, RecipeError, nearest
from ..runtime.progress import someone_watches
from ..runtime.ranks import world_size
from .argument_table import ALREADY, TABLE, UNSET
from .config import DistributedConfig

if TYPE_CHECKING:
    from transformers import TrainingArguments

TrainerKind = Literal["hf", "trl"]
MLFLOW = "mlflow"
DEFAULTS = {name: rule.default for name, rule in TABLE.items() if rule.default is not UNSET}


@dataclass(frozen=True)
class Length:
    """How long a run is, planned before its first step."""

    max_steps: int
    steps_per_epoch: int


@cache
def adapter(name: str) -> TypeAdapter[Any]:
    """The check of a kept argument's value."""
    return TypeAdapter(TABLE[name].type)


def problems(given: Mapping[str, Any], trainer: TrainerKind) -> Iterator[tuple[str, str]]:
    """Every key of `training:` that cannot stay, with the reason."""
    for name, value in given.items():
        rule = TABLE.get(name)
        if rule is None:
            close = nearest(name, TABLE)
            known = close if close.startswith("did you mean") else "docs/training-arguments.md has all that are"
            yield name, f"is not an argument of the trainer; {known}"
        elif rule.fate == "refused":
            yield name, f"is refused: {rule.note}"
        elif rule.fate == "moved":
            yield name, f"has its own place in a recipe: set `{rule.to}` instead"
        elif rule.sft_only and trainer != "trl":
            yield name, "is an argument of SFTConfig only; set `trainer: trl`, or leave it out"
        else:
            try:
                adapter(name).validate_python(value)
            except ValidationError as error:
                message = error.errors()[0]["msg"].removeprefix("Value error, ")
                yield name, f"is {value!r}; {message[:1].lower()}{message[1:]}"
    if given.get("bf16") and given.get("fp16"):
        yield "fp16", "cannot go with `bf16`; choose one"


def complete(given: Mapping[str, Any]) -> dict[str, Any]:
    """The values as their types, with our defaults for what was left open, in the table's order."""
    named = {**DEFAULTS, **given}
    return {name: adapter(name).validate_python(named[name]) for name in TABLE if name in named}


def build_arguments(
    training: Mapping[str, Any],
    trainer: TrainerKind = "hf",
    *,
    output_dir: str | os.PathLike[str],
    seed: int = 42,
    evaluates: bool = False,
    length: Length | None = None,
    distributed: DistributedConfig | None = None,
) -> TrainingArguments:
    """`TrainingArguments`, or an `SFTConfig` for `trainer="trl"`, that train the same way."""
    for name, problem in problems(training, trainer):
        raise RecipeError(f"`training.{name}` {problem}")
    values = complete(training)
    values |= {"output_dir": os.fspath(output_dir), "seed": seed, "logging_nan_inf_filter": False}
    values["remove_unused_columns"] = False
    values.setdefault("run_name", "/".join(Path(output_dir).parts[-3:]))
    values.setdefault("disable_tqdm", not someone_watches())
    values.setdefault("eval_strategy", "steps" if evaluates else "no")
    values["bf16"] = uses_bf16(values)
    values.setdefault("use_cpu", not _has_accelerator())  # without it transformers refuses bf16 on a CPU
    _set_intervals(values, length)
    _spread(values, distributed)
    _check_reporters(values["report_to"])
    values["report_to"] = sorted(reporters(values["report_to"]) - {MLFLOW}) or "none"
    try:
        if trainer == "hf":
            from transformers import TrainingArguments

            return TrainingArguments(**values)
        from trl import SFTConfig

        return SFTConfig(**values, max_length=None, packing=False, dataset_kwargs={"skip_prepare_dataset": True})
    except ValueError as error:
        raise RecipeError(f"`training` was refused by {trainer}'s own check: {' '.join(str(error).split())}") from error


def reporters(asked: str | list[str] | None) -> set[str]:
    """Who is told, by name. MLflow is told by us, from the run's own files."""
    names = {asked} if isinstance(asked, str) else set(asked or ())
    if "all" in names:
        from transformers.integrations.integration_utils import get_available_reporting_integrations

        names |= set(get_available_reporting_integrations())
    return names - {"all", "none"}


def _check_reporters(asked: str | list[str]) -> None:
    """A logger that is unknown or not installed would fail when training has begun, in a library's own words."""
    from transformers.integrations.integration_utils import (
        INTEGRATION_TO_CALLBACK,
        get_available_reporting_integrations,
    )

    for name in [asked] if isinstance(asked, str) else asked:
        if name in ("none", "all"):
            continue
        if name not in INTEGRATION_TO_CALLBACK:
            raise RecipeError(
                f"`training.report_to` is {name!r}; {nearest(name, ('none', 'all', *INTEGRATION_TO_CALLBACK))}"
            )
        if name not in get_available_reporting_integrations():
            package = f"'curricle[{name}]'" if name in ("mlflow", "wandb") else name
            raise MissingExtra(
                f"`training.report_to: {name}` needs {name}, which is not installed: pip install {package}"
            )


def _set_intervals(values: dict[str, Any], length: Length | None) -> None:
    """Epochs and shares of a run as whole steps: to the trainer a run of ours is one long epoch."""
    if length is not None:
        values["max_steps"] = length.max_steps
    for what in ("logging", "eval", "save"):
        strategy, every = f"{what}_strategy", f"{what}_steps"
        if values[strategy] == "epoch":
            if length is None:
                raise RecipeError(f"`training.{strategy}: epoch` needs a run whose length is planned; write steps")
            values |= {strategy: "steps", every: length.steps_per_epoch}
        elif length is not None and values[every] < 1:
            values[every] = max(1, math.ceil(values[every] * length.max_steps))


def _spread(values: dict[str, Any], distributed: DistributedConfig | None) -> None:
    """What several processes share, and how."""
    if distributed is None:
        return
    batch, accumulation = values["per_device_train_batch_size"], values["gradient_accumulation_steps"]
    values["gradient_accumulation_steps"] = distributed.accumulation(batch, accumulation, world_size())
    if distributed.several and world_size() == 1:
        asks = "enabled: true" if distributed.enabled else "fsdp"
        raise RecipeError(
            f"`distributed.{asks}` asks for several processes, and this is one; start it with `torchrun "
            "--nproc-per-node N -m curricle run RECIPE`, or set `distributed.enabled: false`"
        )
    if distributed.backend != "auto" and world_size() > 1:
        values["ddp_backend"] = distributed.backend
    if distributed.sharded is not None:
        inside = bool(values["activation_checkpointing"]) and values.get("activation_checkpointing_kwargs") is None
        values |= distributed.sharded.arguments(inside)
        values["activation_checkpointing"] = values["activation_checkpointing"] and not inside


def uses_bf16(training: Mapping[str, Any]) -> bool:
    """What `training.bf16` comes to here: as asked, else on where a GPU has it, unless `fp16` is asked for."""
    if "bf16" in training:
        return bool(training["bf16"])
    if training.get("fp16") or training.get("use_cpu"):
        return False
    import torch

    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


def _has_accelerator() -> bool:
    import torch

    return torch.accelerator.is_available()


def arguments_reference() -> str:
    """The table as Markdown, for the documentation."""
    lines = ["| argument | here | what that means | our default |", "|---|---|---|---|"]
    for name, rule in TABLE.items():
        default = (
            ""
            if rule.default is UNSET
            else f"`{str(rule.default).lower() if isinstance(rule.default, bool) else rule.default}`"
        )
        note = rule.note if rule.fate != "moved" else f"to `{rule.to}`. {_first_upper(rule.note)}{_moves(rule.values)}"
        only = " (SFTConfig only)" if rule.sft_only else ""
        lines.append(f"| `{name}` | {rule.fate} | {_first_upper(note).rstrip('.')}{only} | {default} |")
    return "\n".join(lines) + "\n"


def _moves(values: Mapping[Any, Any] | None) -> str:
    dropped = [str(theirs).lower() for theirs, ours in (values or {}).items() if ours is ALREADY]
    return f" What {' and '.join(dropped)} asks for is so already." if dropped else ""


def _first_upper(text: str) -> str:
    return text if text.startswith("`") else text[:1].upper() + text[1:]
