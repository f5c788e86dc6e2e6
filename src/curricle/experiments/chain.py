"""Arms that need the model of another arm, the one trained with the same seed.

    arms:
      critic:     {critic: {stage: pretrain}}
      joint:      {model: {from_arm: critic}, critic: {}}                      starts from that model
      reference:  {}
      rho1:       {weighting: {kind: reference_excess, reference: "arm:reference"}}     is held against that model
      merged:     {merge: {arms: [web, code]}}                                 is made out of those models

The model lies in `runs/NAME/critic/seed-0/model`, seen from `runs/NAME/joint/seed-0`. An arm keeps its own model
section, which must be that of the arm it needs: it says what the weights are of. What that arm cost is charged to all
that need it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import RecipeError, nearest
from ..models.config import ModelConfig
from ..runtime.files import read_json
from .recipe import Settings

ARM = "arm:"
"""What comes before an arm's name where a path could stand too."""
_OWN = {"from_arm", "adapter", "dtype", "attn_implementation"}
"""What may differ between the model sections."""
MERGED = "merge.arms"


def needs(settings: Settings) -> dict[str, str]:
    """The arms whose models these settings need, by the key that says so."""
    found = {"model.from_arm": settings.model.from_arm, "weighting.reference": reference_arm(settings)}
    if settings.merge is not None:
        found |= {f"{MERGED}.{place}": arm for place, arm in enumerate(settings.merge.arms)}
    return {key: arm for key, arm in found.items() if arm is not None}


def reference_arm(settings: Settings) -> str | None:
    """The arm whose model the losses are held against."""
    config = settings.weighting
    if config.kind != "reference_excess" or not (config.reference or "").startswith(ARM):
        return None
    return str(config.reference).removeprefix(ARM)


def in_order(arms: Mapping[str, Settings]) -> list[str]:
    """The names, each after the arms that it needs; else as they are written."""
    done: list[str] = []
    for name in arms:
        _after_its_needs(name, arms, (), done)
    return done


def _after_its_needs(name: str, arms: Mapping[str, Settings], way: tuple[str, ...], done: list[str]) -> None:
    if name in way:
        raise RecipeError(f"arms need one another in a circle: {' -> '.join([*way, name])}")
    if name in done:
        return
    for key, other in needs(arms[name]).items():
        if other not in arms:
            raise RecipeError(f"arm `{name}`: `{key}` is {other}, no arm; {nearest(other, arms)}")
        _after_its_needs(other, arms, (*way, name), done)
        _refuse_other(name, key, other, arms)
    done.append(name)


def with_needs(names: Iterable[str], arms: Mapping[str, Settings]) -> set[str]:
    """These arms, and all that they need."""
    return _closure(names, lambda name: arms[name])


def _closure(names: Iterable[str], settings_of: Callable[[str], Settings]) -> set[str]:
    found: set[str] = set()
    left = list(names)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += needs(settings_of(name)).values()
    return found


def _refuse_other(name: str, key: str, other: str, arms: Mapping[str, Settings]) -> None:
    settings, needed = arms[name], arms[other]
    if needed.trainer == "none" and needed.merge is None:
        raise RecipeError(f"arm `{name}`: `{key}` is {other}, which trains nothing (`trainer: none`); leave it out")
    if key.startswith(MERGED):
        _refuse_unmergeable(name, key, other, arms)
    elif needed.merge is None and (needed.model.adapter is not None or needed.generator is not None):
        raise RecipeError(
            f"arm `{name}`: `{key}` is {other}, which trains an adapter and not a whole model; train `{other}` without "
            "model.adapter, or export it (curricle export) and name the folder in a recipe of its own"
        )
    if key == "model.from_arm":
        _refuse_critic(name, other, arms)
    own, theirs = (each.model.model_dump(exclude=_OWN) for each in (settings, needed))
    for field, value in own.items():
        if value != theirs[field]:
            raise RecipeError(
                f"arm `{name}`: `{key}` is {other}, but `model.{field}` is {value} here and {theirs[field]} there; the "
                "two have one model, so leave it to the base of the recipe"
            )


def _refuse_unmergeable(name: str, key: str, other: str, arms: Mapping[str, Settings]) -> None:
    """What is added up are differences from one base, which each arm must have started from."""
    own, theirs = arms[name].model.from_arm, arms[other].model.from_arm
    if own != theirs:
        raise RecipeError(
            f"arm `{name}`: `{key}` is {other}, which starts from {theirs or 'the untouched model'}, and `{name}` says "
            f"that the base is {own or 'the untouched model'}; set the same `model.from_arm`"
        )
    merge = arms[name].merge
    if merge is not None and merge.weights == "shares" and not arms[other].trains:
        raise RecipeError(
            f"arm `{name}`: `merge.weights` are shares of training tokens, and `{other}` is merged itself; name the "
            "weights"
        )
    if arms[other].critic is not None:
        raise RecipeError(f"arm `{name}`: `{key}` is {other}, which has a critic; a merge has no place for its head")


def _refuse_critic(name: str, start: str, arms: Mapping[str, Settings]) -> None:
    """A critic's head stays in the model of an arm that does not train it, so it may come from further up."""
    critic, way = arms[name].critic, [start]
    if critic is None:
        return
    while arms[way[-1]].critic is None and (above := arms[way[-1]].model.from_arm) is not None:
        way.append(above)
    start, before = way[-1], arms[way[-1]].critic
    if before is None and critic.makes_head is None:
        nor = "".join(f", nor has `{arm}`, which that one starts from" for arm in way[1:])
        raise RecipeError(
            f"arm `{name}` goes on with the critic of `{way[0]}`, which has none{nor}; give `{start}` a `critic`"
        )
    if before is not None and critic.kind != before.kind:
        raise RecipeError(f"arm `{name}` has a {critic.kind} critic and starts from `{start}` with a {before.kind} one")


def model_folder(arm: str, folder: str | Path) -> Path:
    """Where the model of another arm lies, seen from the folder of a run with the same seed."""
    run = Path(folder).absolute()
    return run.parent.parent / arm / run.name / "model"


def started(config: ModelConfig, folder: str | Path) -> ModelConfig:
    """The model section with the trained model of the arm that the run in this folder starts from, if it does."""
    if config.from_arm is None:
        return config
    path = model_folder(config.from_arm, folder)
    return config.model_copy(update={"name_or_path": str(path), "shape": {}, "revision": None, "from_arm": None})


def charged(settings: Settings, folder: Path) -> float:
    """What had been spent on the models of other arms before this run began, in FLOPs: of each arm that is needed,
    directly or by others, its training and its own labels, once."""
    from .comparison.compute import train_flops

    def run(arm: str) -> Path:
        return model_folder(arm, folder).parent

    def settings_of(arm: str) -> Settings:
        return Settings.model_validate(read_json(run(arm) / "arm.json")["settings"])

    spent = 0.0
    for arm in sorted(_closure(needs(settings).values(), settings_of)):
        results: dict[str, Any] = read_json(run(arm) / "results.json")
        own = float(results.get("label_flops") or 0.0) - float(results.get("start_flops") or 0.0)
        spent += (train_flops(results) or 0.0) + own
    return spent
