"""From what a person wrote to what will run: files laid over one another, old names translated, arms spelled out.

    recipe.yaml --extends--> base.yaml     base first, then the file, presets, `--set`; mappings merge, lists do not
    arms, grid                             each arm is the base with its named changes, checked like a recipe
    resolved recipe                        every default written out, no `extends`, no `grid`; reads back the same

Paths inside a recipe (models, data) are relative to the directory the command is run in; `extends` is relative to the
file that says it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from ..errors import RecipeError, nearest
from ..runtime.config import Section
from ..runtime.fingerprint import fingerprint
from ..runtime.progress import say
from .arms import below, expand
from .chain import in_order, needs, with_needs
from .comparison.config import CheckConfig, ComparisonConfig
from .document import KeyPath, Place, Places, Tree, as_written, dotted, read_document, write_document
from .keys import hint, section_keys
from .old_names import SECTIONS, translate
from .overrides import overlay, read_sets
from .presets import with_presets
from .recipe import MAX_SEED, Recipe, Settings, made_folder_name
from .share.config import ExpertsConfig
from .share.expand import with_experts
from .toys.base import place_base
from .toys.sources import place_sources

if TYPE_CHECKING:
    from .comparison.checks import Check

AnyRecipe = str | Path | Mapping[str, Any] | Recipe
"""A file, what such a file holds, or what comes of reading it."""
AnySection = TypeVar("AnySection", bound=Section)


@dataclass(frozen=True)
class Arm:
    """One variant, whole: what each of its runs does, but for the seed."""

    name: str
    settings: Settings
    changes: Tree
    """What differs from the base, as it was written."""
    hash: str
    """Names what the training depends on; neither the arm's name, nor other arms, nor seeds, nor what is measured
    afterwards go into it."""
    start: str | None = None
    """The same of the arms whose models this one needs, together."""


@dataclass(frozen=True)
class Experiment:
    """A recipe, resolved: arms x seeds."""

    name: str
    base: Settings
    arms: dict[str, Arm]
    seeds: tuple[int, ...]
    shared: Tree
    """The base as it was resolved, toy data by name."""
    comparison: ComparisonConfig = field(default_factory=ComparisonConfig)
    checks: tuple[CheckConfig, ...] = ()

    @property
    def folder(self) -> Path:
        """Where its runs lie."""
        return Path("runs") / self.name

    def select(self, arms: Sequence[str] | None = None, seeds: Sequence[int] | None = None) -> Experiment:
        """Only these arms, with those that they need; these seeds in place of the recipe's."""
        chosen = self.arms
        if arms is not None:
            for name in arms:
                if name not in self.arms:
                    raise RecipeError(f"the recipe has no arm `{name}`; {nearest(name, self.arms)}")
            wanted = with_needs(arms, self._settings())
            chosen = {name: arm for name, arm in self.arms.items() if name in wanted}
        if seeds is not None and (len(set(seeds)) != max(1, len(seeds)) or min(seeds) < 0 or max(seeds) > MAX_SEED):
            raise RecipeError(f"seeds are different whole numbers from 0 on, {MAX_SEED} at most; found {list(seeds)}")
        if not chosen:
            raise RecipeError(f"no arm was named; the recipe has {', '.join(self.arms)}")
        return replace(self, arms=chosen, seeds=self.seeds if seeds is None else tuple(seeds))

    def in_order(self) -> list[Arm]:
        """The arms, each after those whose models it needs."""
        return [self.arms[name] for name in in_order(self._settings())]

    def _settings(self) -> dict[str, Settings]:
        return {name: arm.settings for name, arm in self.arms.items()}

    def parsed_checks(self) -> list[Check]:
        """The recipe's checks, read; a figure or an arm that nothing will give is refused."""
        from .comparison.checks import parse_checks

        entries = (entry for arm in self.arms.values() for entry in arm.settings.evaluation)
        ranges = {figure: range_ for entry in entries for figure, range_ in entry.ranges().items()}
        return parse_checks(self.checks, ranges, list(self.arms))

    def tree(self) -> Tree:
        """The resolved recipe: all defaults, arms spelled out."""
        arms = {arm.name: arm.changes for arm in self.arms.values()}
        written = {} if list(arms) == ["base"] and not arms["base"] else {"arms": arms}
        about = {
            "comparison": self.comparison.model_dump(mode="json"),
            "checks": [check.model_dump(mode="json", exclude_defaults=True) for check in self.checks],
        }
        return {"name": self.name, **self.shared, **written, "seeds": list(self.seeds), **about}

    def dump(self) -> str:
        """The resolved recipe as YAML; it reads back as the same experiment."""
        return write_document(self.tree())


def resolve(recipe: AnyRecipe, overrides: Sequence[str] = ()) -> Experiment:
    """Read a recipe (a file, a mapping, or a `Recipe`) with `a.b=c` overrides, and check every arm of it."""
    layers: list[tuple[Tree, Places]]
    if isinstance(recipe, Recipe):
        layers, source = [(recipe.model_dump(mode="json", exclude_unset=True), {})], "recipe"
    elif isinstance(recipe, Mapping):
        layers, source = _with_base(deepcopy(dict(recipe)), {}, Path("."), ()), "recipe"
    else:
        layers, source = _chain(Path(recipe), ()), str(recipe)
        layers[-1][0].setdefault("name", made_folder_name(Path(recipe).stem))
    tree: Tree = {}
    places: Places = {(): Place(source, None, "")}
    for layer, written in layers:
        _translate_layer(layer, written)
        tree = overlay(tree, layer)
        places |= written
    sets, set_at = read_sets(overrides)
    _translate_layer(sets, set_at)
    asked, place = sets.get("preset", tree.get("preset")), (places | set_at).get(("preset",), places[()])
    tree, of_presets = with_presets(tree, places, asked, place)
    tree, places = overlay(tree, sets), places | of_presets | set_at
    written_arms = set(tree.get("arms") or ())
    tree, places = _with_experts(tree, places)
    whole = check(Recipe, tree, places)
    _tell_kept(overrides, sets, {name: arm for name, arm in whole.arms.items() if name in written_arms})
    shared = {key: value for key, value in tree.items() if key in Settings.model_fields}
    base = check(Settings, shared, places)
    for name, changes in whole.presets.items():
        if name not in whole.preset:  # those that are asked for are part of the base
            check(Settings, overlay(shared, changes), {**places, **below(places, ("presets", name))})
    variants = {
        name: (check(Settings, overlay(shared, changes), {**places, **written}), changes)
        for name, changes, written in expand(tree, places)
    }
    arms: dict[str, Arm] = {}
    for name in in_order({name: settings for name, (settings, _) in variants.items()}):
        settings, changes = variants[name]
        hashes = {key: arms[other].hash for key, other in needs(settings).items()}
        start = fingerprint(hashes) if hashes else None
        arms[name] = Arm(name, _ready(settings), changes, training_hash(settings, start), start)
    arms = {name: arms[name] for name in variants}  # as they are written
    seeds = tuple(whole.seeds or [whole.seed])
    checks = tuple(CheckConfig(check=line) if isinstance(line, str) else line for line in whole.checks)
    if whole.comparison.base not in (None, *arms):
        raise RecipeError(
            f"`comparison.base` is {whole.comparison.base}, no arm; {nearest(str(whole.comparison.base), arms)}"
        )
    found = Experiment(whole.name, _ready(base), arms, seeds, base.model_dump(mode="json"), whole.comparison, checks)
    found.parsed_checks()  # a figure that nothing will give is refused before anything is trained
    return found


class _Experts(Section):
    """What is checked of a recipe before it is whole."""

    experts: ExpertsConfig


def _with_experts(tree: Tree, places: Places) -> tuple[Tree, Places]:
    """`experts:` checked by itself, as what it stands for makes the recipe whole."""
    asked = tree.get("experts")
    if asked is None:
        return tree, places
    return with_experts(tree, places, check(_Experts, {"experts": asked}, places).experts)


def training_hash(settings: Settings, start: str | None = None) -> str:
    """A metric or held-out rows may be added to a finished run, so measuring counts only where it chooses the
    checkpoint, and how labels are made only where the run goes by them. How processes share the work changes no row of
    a step; how many the batch is written for does. `start`: of the arms whose models it needs."""
    shaping = settings.model_dump(mode="json", exclude={"evaluation", "generation", "difficulty", "distributed"})
    shaping["world_size"] = settings.distributed.world_size
    if settings.selection.metric is None:
        del shaping["data"]["eval"]
    if not settings.trains:  # nor does any row, nor how it would be trained on
        del shaping["data"]["train"]
        for section in ("curriculum", "weighting", "critic", "training", "selection"):
            del shaping[section]
    if settings.makes_labels:
        shaping["difficulty"] = settings.difficulty.deciding().model_dump(
            mode="json", exclude={"analyze", "probe_folds"}
        )
    if settings.selection.metric not in (None, "loss"):
        shaping["watched"] = [
            entry.model_dump(mode="json")
            for entry in settings.evaluation
            if settings.selection.metric in entry.figures()
        ]
        shaping["generation"] = settings.generation.model_dump(mode="json")
    if start is not None:
        shaping["start"] = start
    return fingerprint(shaping)


def same_training(held: Mapping[str, Any], arm: Arm) -> bool:
    """Whether a run's arm.json is of this arm. One of an older version lacks keys that came since: with their defaults
    in place it is the same training."""
    if held["hash"] == arm.hash:
        return True
    try:
        before = Settings.model_validate(held["settings"])
    except ValidationError:
        return False
    spread = before.distributed
    if spread.world_size is None and arm.settings.distributed.world_size is not None:
        # Named afterwards, it says what the run had, so that it can go on with another number of processes.
        spread = spread.model_copy(update={"world_size": held.get("world_size")})
        before = before.model_copy(update={"distributed": spread})
    return training_hash(before, held.get("start")) == training_hash(arm.settings, arm.start)


def measuring_hash(settings: Settings) -> str:
    """Names what is measured, how and on which rows: a finished run is measured again, not trained again, when it
    changes."""
    rows = [
        # Where a file lies is this machine's own, toy data's above all.
        source.model_dump(exclude_defaults=True) | {"path": Path(source.path).parts[-2:]}
        for source in settings.data.sources("eval")
    ]
    return fingerprint([entry.model_dump() for entry in settings.evaluation], settings.generation.model_dump(), rows)


def _ready(settings: Settings) -> Settings:
    """The same with toy data and the toy model as files, which are this machine's own: no part of hash or dump."""
    return settings.model_copy(update={"data": place_sources(settings.data), "model": place_base(settings.model)})


def _chain(path: Path, above: tuple[Path, ...]) -> list[tuple[Tree, Places]]:
    """The files a recipe is made of, the one it starts from first."""
    if path.resolve() in above:
        loop = " -> ".join(step.name for step in (*above, path))
        raise RecipeError(f"{path}: `extends` comes back to itself: {loop}")
    tree, places = read_document(path)
    return _with_base(tree, places, path.parent, (*above, path.resolve()))


def _with_base(tree: Tree, places: Places, folder: Path, above: tuple[Path, ...]) -> list[tuple[Tree, Places]]:
    start = tree.pop("extends", None)
    if start is None:
        return [(tree, places)]
    place = places.get(("extends",), Place("recipe", None, "extends"))
    if not isinstance(start, str) or not (folder / start).is_file():
        raise RecipeError(f"{place}: `extends: {start}` is no file; it is relative to {folder.resolve()}")
    layers = _chain(folder / start, above)
    for inherited, _ in layers:
        inherited.pop("name", None)  # two experiments of one name would share a folder
    return [*layers, (tree, places)]


def _translate_layer(tree: Tree, places: Places) -> None:
    known = {section: set(section_keys(Recipe, section) or ()) for section in SECTIONS}
    translate(tree, places, known)
    arms = tree.get("arms")
    for name, changes in list(arms.items()) if isinstance(arms, dict) else ():
        if changes is None:  # `shuffled:` with nothing behind it
            tree["arms"] = {**tree["arms"], name: {}}
        elif isinstance(changes, dict):
            inside = below(places, ("arms", name))
            translate(changes, inside, known)
            places |= {("arms", name, *key): place for key, place in inside.items()}


def _tell_kept(overrides: Sequence[str], asked: Tree, arms: Mapping[str, Tree]) -> None:
    """An override changes the base; say so where an arm sets the same key and keeps its own value."""
    for written in overrides:
        path = written.partition("=")[0].strip().split(".")
        for name, changes in arms.items():
            part: Any = changes
            for step in path:
                part = part.get(step) if isinstance(part, Mapping) else None
            if part is not None and path[0] not in ("arms", "grid"):
                say(f"--set {written}: arm `{name}` keeps its own value, {part}")


def check(section: type[AnySection], tree: Tree, places: Places) -> AnySection:
    """The section these settings make, or the first mistake in them, with its place."""
    try:
        return section.model_validate(tree)
    except ValidationError as error:
        found = [_mistake(section, tree, dict(each)) for each in error.errors(include_url=False)]
        unknown = [one for one in found if one[2]]
        path, message, _ = max(unknown or found, key=lambda one: len(one[0]))
    place = _nearest_place(places, path)
    where = f"{place[0]}: " if str(place[0]) else ""
    raise RecipeError(f"{where}`{place[1]}` {message}" if place[1] else f"{where}{message}")


def _mistake(section: type[Section], tree: Tree, error: dict[str, Any]) -> tuple[KeyPath, str, bool]:
    """Path, message, and whether it is about a key that does not exist."""
    kind, message = error["type"], str(error["msg"]).removeprefix("Value error, ")
    if kind == "recipe":
        path = (*error["loc"], *error["ctx"]["path"])
        return path, message, "is not an argument" in message
    path, value = _path_in(tree, error["loc"], missing=kind == "missing")
    if kind == "extra_forbidden":
        return path, f"is not a key here; {hint(section, path)}", True
    if kind == "missing":
        about = (section_keys(section, path[:-1]) or {}).get(str(path[-1]), "")
        return path, f"is missing: {about}" if about else "is missing", False
    if kind == "union_tag_invalid":
        known = [tag.strip(" '") for tag in error["ctx"]["expected_tags"].split(",")]
        tag = error["ctx"]["tag"]
        return (*path, error["ctx"]["discriminator"].strip("'")), f"is `{tag}`; {nearest(tag, known)}", False
    if kind == "union_tag_not_found":
        return path, f"lacks its `{error['ctx']['discriminator'].strip(chr(39))}`", False
    if kind == "value_error":
        return path, f"cannot be: {message}", False
    if kind in ("model_type", "dict_type"):
        return path, f"is {as_written(value)}; it takes keys of its own, such as {_some_keys(section, path)}", False
    return path, f"is {as_written(value)}; {message[:1].lower()}{message[1:]}", False


def _some_keys(section: type[Section], path: KeyPath) -> str:
    known = list(section_keys(section, path) or ("key: value",))
    return ", ".join(f"`{name}`" for name in known[:4])


def _path_in(tree: Any, loc: tuple[str | int, ...], missing: bool) -> tuple[KeyPath, Any]:
    """Pydantic's location without the names of union branches in it: only steps that the tree really has."""
    path: list[str | int] = []
    for step in loc[: -1 if missing else None]:
        inside = step in tree if isinstance(tree, dict) else isinstance(tree, list) and isinstance(step, int)
        if inside:
            tree = tree[step]
            path.append(step)
    return (*path, *((loc[-1],) if missing else ())), tree


def _nearest_place(places: Places, path: KeyPath) -> tuple[str, str]:
    """Where the key, or the closest thing above it, was written, and the key as written there."""
    for depth in range(len(path), -1, -1):
        place = places.get(path[:depth])
        if place is not None:
            rest = dotted(path[depth:])
            return str(place), f"{place.key}.{rest}" if place.key and rest and not rest.startswith(
                "["
            ) else place.key + rest
    return "", dotted(path)
