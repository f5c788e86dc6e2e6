"""Arms that start from the model of another arm: `model.from_arm: critic` takes the one trained with the same seed.

    arms:
      critic:  {critic: {stage: pretrain}}
      joint:   {model: {from_arm: critic}, critic: {}}         runs/NAME/critic/seed-0/model -> runs/NAME/joint/seed-0

The arm keeps its own model section, which must be that of the arm it starts from: it says what the weights are of. What
the first arm cost is charged to all that start from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import RecipeError, nearest
from ..models.config import ModelConfig
from ..runtime.files import read_json
from .recipe import Settings

_OWN = {"from_arm", "adapter", "dtype", "attn_implementation"}
"""What may differ between the model sections."""


def in_order(arms: Mapping[str, Settings]) -> list[str]:
    """The names, each after the arm that it starts from; else as they are written."""
    done: list[str] = []
    for name in arms:
        way = [name]
        while (start := arms[way[-1]].model.from_arm) is not None:
            if start not in arms:
                raise RecipeError(f"arm `{way[-1]}`: `model.from_arm` is {start}, no arm; {nearest(start, arms)}")
            if start in way:
                raise RecipeError(f"`model.from_arm` goes in a circle: {' -> '.join([*way, start])}")
            _refuse_other(way[-1], arms[way[-1]], start, arms[start])
            way.append(start)
        done += [step for step in reversed(way) if step not in done]
    return done


def with_starts(names: Iterable[str], arms: Mapping[str, Settings]) -> set[str]:
    """These arms, and all that they start from."""
    found: set[str] = set()
    for name in names:
        step: str | None = name
        while step is not None and step not in found:
            found.add(step)
            step = arms[step].model.from_arm
    return found


def _refuse_other(name: str, settings: Settings, start: str, started: Settings) -> None:
    if started.trainer == "none":
        raise RecipeError(
            f"arm `{name}` starts from `{start}`, which trains nothing (`trainer: none`); leave from_arm out"
        )
    if started.model.adapter is not None or started.generator is not None:
        raise RecipeError(
            f"arm `{name}` starts from `{start}`, which trains an adapter and not a whole model; train `{start}` "
            "without model.adapter, or export it (curricle export) and name the folder in a recipe of its own"
        )
    critic, before = settings.critic, started.critic
    if critic is not None and before is None and started.model.from_arm is None and critic.makes_head is None:
        raise RecipeError(
            f"arm `{name}` goes on with the critic of `{start}`, which has none; give `{start}` a `critic`"
        )
    if critic is not None and before is not None and critic.kind != before.kind:
        raise RecipeError(f"arm `{name}` has a {critic.kind} critic and starts from `{start}` with a {before.kind} one")
    own, other = (each.model.model_dump(exclude=_OWN) for each in (settings, started))
    for key, value in own.items():
        if value != other[key]:
            raise RecipeError(
                f"arm `{name}` starts from `{start}`, but its `model.{key}` is {value} and theirs is {other[key]}; the "
                "two have one model, so leave it to the base of the recipe"
            )


def model_folder(arm: str, folder: Path) -> Path:
    """Where the model of another arm lies, seen from the folder of a run with the same seed."""
    return folder.absolute().parent.parent / arm / folder.name / "model"


def started(config: ModelConfig, folder: Path) -> ModelConfig:
    """The model section with the trained model of the arm that the run in this folder starts from, if it does."""
    if config.from_arm is None:
        return config
    path = model_folder(config.from_arm, folder)
    return config.model_copy(update={"name_or_path": str(path), "shape": {}, "revision": None, "from_arm": None})


def charged(config: ModelConfig, folder: Path) -> float:
    """What had been spent on the model before this run began, in FLOPs."""
    from .comparison.compute import train_flops

    if config.from_arm is None:
        return 0.0
    results: dict[str, Any] = read_json(model_folder(config.from_arm, folder).parent / "results.json")
    return (train_flops(results) or 0.0) + float(results.get("label_flops") or 0.0)
