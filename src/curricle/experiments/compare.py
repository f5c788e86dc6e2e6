"""`curricle.compare`: runs that are finished, of one experiment or of several, beside each other."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import RecipeError, RunError, nearest
from .comparison.build import build_comparison
from .comparison.config import ComparisonConfig
from .comparison.facts import ArmFacts, read_arm
from .comparison.shape import Comparison


def compare(*runs: str | Path, base: str | None = None, config: ComparisonConfig | None = None) -> Comparison:
    """Compare finished runs by their folders: `runs/NAME` for all arms of an experiment, `runs/NAME/ARM` for all seeds
    of an arm, `runs/NAME/ARM/seed-0` for one run. How they are compared is what the `comparison:` section of the first
    folder's recipe says, where it holds one, or `config`. The first arm is what the others are compared with, unless
    that section or `base` names another.

    >>> print(curricle.compare("runs/quickstart"))                                   # doctest: +SKIP
    >>> print(curricle.compare("runs/old/base", "runs/new/base", base="old/base"))   # doctest: +SKIP
    """
    places = _all_places(runs)
    arms = _named(places)
    if len(arms) < 2:
        raise RunError(f"{runs[0]} holds one arm, {arms[0].name}; name another run to compare it with")
    if base is not None and base not in [arm.name for arm in arms]:
        raise RecipeError(f"no arm `{base}` among these runs; {nearest(base, [arm.name for arm in arms])}")
    config = config or written_comparison(runs[0])
    if base is not None or (len(runs) > 1 and config.base not in [arm.name for arm in arms]):
        config = config.model_copy(update={"base": base})  # one recipe's base need not be among arms of several
    _comparable(arms, config.base)
    folder = Path(os.path.commonpath([arm.parent.resolve() for arm, _ in places]))
    return build_comparison(_title(places), folder, arms, config)


def written_comparison(run: str | Path) -> ComparisonConfig:
    """The `comparison:` section of the recipe that lies in an experiment's folder; the defaults where there is none."""
    from .document import read_document
    from .resolve import check

    if not (recipe := Path(run) / "recipe.yaml").is_file():
        return ComparisonConfig()
    tree, places = read_document(recipe)
    own = {path[1:]: place for path, place in places.items() if path[:1] == ("comparison",)}
    return check(ComparisonConfig, tree.get("comparison") or {}, own)


def arms_of(*runs: str | Path) -> list[ArmFacts]:
    """The finished runs in these folders, by arm."""
    return _named(_all_places(runs))


Place = tuple[Path, int | None]
"""An arm's folder, and one of its seeds or all."""


def _all_places(runs: Sequence[str | Path]) -> list[Place]:
    if not runs:
        raise RecipeError("name the runs to compare, such as runs/NAME, runs/NAME/ARM or runs/NAME/ARM/seed-0")
    return [place for run in runs for place in _places(Path(run))]


def _places(run: Path) -> Iterator[Place]:
    if not run.is_dir():
        raise RunError(f"{run} is no folder; a run is runs/NAME, runs/NAME/ARM or runs/NAME/ARM/seed-0")
    seed = run.name.removeprefix("seed-")
    if run.name.startswith("seed-") and seed.isdigit():
        yield run.parent, int(seed)
    elif any(run.glob("seed-*")):
        yield run, None
    else:
        found = sorted({path.parent.parent for path in run.glob("*/seed-*/results.json")})
        if not found:
            raise RunError(f"{run} holds no finished run: there is no ARM/seed-K/results.json in it")
        yield from ((arm, None) for arm in _in_order(run, found))


def _in_order(run: Path, arms: list[Path]) -> list[Path]:
    """As the recipe has them, so that its first arm is the base."""
    from .document import read_document

    if not (run / "recipe.yaml").is_file():
        return arms
    order = list(read_document(run / "recipe.yaml")[0].get("arms") or [])
    return sorted(arms, key=lambda arm: order.index(arm.name) if arm.name in order else len(order))


def _named(places: list[Place]) -> list[ArmFacts]:
    """Arms by their own names, or with the experiment's before it where two would be alike."""
    seeds: dict[Path, list[int] | None] = {}
    for folder, seed in places:
        before = seeds.get(folder, [])
        seeds[folder] = None if seed is None or before is None else [*before, seed]
    paths = [folder.resolve() for folder in seeds]
    names = [path.name for path in paths]
    for longer in ([f"{path.parent.name}/{path.name}" for path in paths], [str(folder) for folder in seeds]):
        names = [name if names.count(name) == 1 else more for name, more in zip(names, longer, strict=True)]
    return [read_arm(folder, name, chosen) for (folder, chosen), name in zip(seeds.items(), names, strict=True)]


def _title(places: list[Place]) -> str:
    return " and ".join(dict.fromkeys(folder.resolve().parent.name for folder, _ in places))


def _comparable(arms: list[ArmFacts], base: str | None) -> None:
    """Refuse what has nothing in common."""
    reference = next((arm for arm in arms if arm.name == base), arms[0])
    for arm in arms:
        ours, theirs = ({name for run in side.runs.values() for name in run.metrics} for side in (arm, reference))
        if not ours & theirs:
            has = f"{arm.name} has {_some(ours)}, {reference.name} has {_some(theirs)}"
            raise RunError(
                f"no figure was measured in both {arm.name} and {reference.name}: {has}; `curricle run` measures"
            )
        ids, others = ({name for run in side.runs.values() for name in run.places} for side in (arm, reference))
        if ids and others and not ids & others:
            raise RunError(
                f"results of other data: {arm.name} was measured on {len(ids):,} examples and {reference.name} on "
                f"{len(others):,}, and none is common; measure both on one `data.eval`"
            )


def _some(names: set[str]) -> str:
    return ", ".join(sorted(names)[:4]) or "none"
