"""`experts:` written out: the arms that it stands for.

    experts: {domains: {web: web.parquet, code: code.parquet}}

is short for

    data: {train: [web 0 to 0.9, code 0 to 0.9], eval: [web 0.95 to 1, code 0.95 to 1]}    places are hashes of rows
    arms:
      untouched:    {trainer: none}
      web:          {data: {train: web}}
      code:         {data: {train: code}}
      merged:       {merge: {arms: [web, code], validation: [web 0.9 to 0.95, code 0.9 to 0.95]}}
      uniform_soup: {merge: {arms: [web, code], weights: uniform, normalize: sum1}}
      joint:        {}
      sequential:   {curriculum: {strategy: domains_in_turn}}

Where the recipe counts steps (`training.max_steps`), `joint` and `sequential` take as many as all experts together.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

from ...data.config import Source
from ...data.readers import BadRow, read_rows
from ...errors import DataError, RecipeError
from ...runtime.progress import say
from ..document import Place, Places, Tree
from ..overrides import overlay
from .config import CONTROLS, MERGED, DomainConfig, ExpertsConfig, Sources

READABLE = (".parquet", ".jsonl", ".json", ".csv", ".tsv", ".jsonl.gz", ".csv.gz", ".tsv.gz", ".json.gz")


def with_experts(tree: Tree, places: Places, experts: ExpertsConfig | None) -> tuple[Tree, Places]:
    """The recipe with the arms of `experts` in it, under those that it has itself."""
    if experts is None:
        return tree, places
    place = places.get(("experts",), Place("recipe", None, "experts"))
    domains = _domains(experts, place)
    if clash := [name for name in domains if name in (MERGED, *CONTROLS)]:
        raise RecipeError(f"{place}: a domain is called `{clash[0]}`, which is the name of an arm; call it otherwise")
    parts = {name: _parts(name, domain, experts) for name, domain in domains.items()}
    data = tree.get("data") or {}
    train = [source for part in parts.values() for source in part["train"]]
    held_out = [source for part in parts.values() for source in part["eval"]]
    made = {"data": {"train": train, "eval": held_out}, "arms": _arms(tree, domains, parts, experts)}
    if named := [key for key in ("train", "eval") if key in data]:
        raise RecipeError(f"{place}: `data.{named[0]}` is written too; `experts.domains` says what is read")
    model = tree.get("model") or {}
    if str(model.get("name_or_path")).startswith("nano:") and "vocabulary" not in model:
        made["model"] = {"vocabulary": train}  # one tokenizer for all: what is merged has the same tokens
    found = overlay(made, {key: value for key, value in tree.items() if key != "experts"})
    for changes in found["arms"].values():
        if isinstance(changes, dict) and isinstance(changes.get("merge"), dict):
            changes["merge"].setdefault("arms", list(domains))
            if _searches(changes["merge"]):
                changes["merge"].setdefault(
                    "validation", [row for part in parts.values() for row in part["validation"]]
                )
    return found, {("arms",): place, ("data",): place, **places}


def _searches(merge: Tree) -> bool:
    return bool(merge.get("weights", "search") == "search")


def _arms(tree: Tree, domains: dict[str, DomainConfig], parts: Any, experts: ExpertsConfig) -> dict[str, Tree]:
    own = {name: overlay({"data": {"train": parts[name]["train"]}}, one.overrides) for name, one in domains.items()}
    together = _steps_together(tree, own)
    merge = experts.merge.model_dump(mode="json", exclude_unset=True)
    found: dict[str, Tree] = {
        "untouched": {"trainer": "none"},
        **own,
        MERGED: {"merge": merge},
        "uniform_soup": {"merge": {"weights": "uniform", "normalize": "sum1"}},
        "joint": deepcopy(together),
        "sequential": overlay(together, {"curriculum": {"strategy": "domains_in_turn"}}),
    }
    return {name: arm for name, arm in found.items() if name not in CONTROLS or name in experts.controls}


def _steps_together(tree: Tree, own: dict[str, Tree]) -> Tree:
    """The steps of all experts, where steps are counted; epochs need nothing."""
    steps = [
        overlay(tree.get("training") or {}, arm.get("training") or {}).get("max_steps", -1) for arm in own.values()
    ]
    counted = all(isinstance(each, int) and each > 0 for each in steps)
    return {"training": {"max_steps": sum(steps)}} if counted else {}


def _parts(name: str, domain: DomainConfig, experts: ExpertsConfig) -> dict[str, list[Tree]]:
    """The sources of one domain: what no file is named for is held out of the training rows."""
    share = experts.held_out
    if domain.validation is None and domain.eval is None:
        cuts = {"train": (0.0, 1 - share), "validation": (1 - share, 1 - share / 2), "eval": (1 - share / 2, 1.0)}
    elif domain.validation is None and experts.merge.searches:
        cuts = {"train": (0.0, 1 - share / 2), "validation": (1 - share / 2, 1.0)}
    elif domain.eval is None:
        cuts = {"train": (0.0, 1 - share / 2), "eval": (1 - share / 2, 1.0)}
    else:
        cuts = {}
    found = {}
    for part in ("train", "validation", "eval"):
        given: Sources | None = getattr(domain, part)
        sources = _sources(domain.train if given is None else given)
        found[part] = [_labelled(source, name, cuts.get(part)) for source in sources]
    return found


def _sources(given: Sources) -> list[Source]:
    return [Source.of(one) for one in (given if isinstance(given, list) else [given])]


def _labelled(source: Source, domain: str, between: tuple[float, float] | None) -> Tree:
    own = source.model_dump(mode="json", exclude_unset=True, exclude_none=True) | {"domain": domain}
    return own if between is None or source.between is not None else own | {"between": list(between)}


def _domains(experts: ExpertsConfig, place: Place) -> dict[str, DomainConfig]:
    if not isinstance(experts.domains, str):
        if experts.field is not None:
            raise RecipeError(f"{place}: `experts.field` goes with one file; `experts.domains` names each domain's own")
        found = experts.domains
    elif experts.field is not None:
        found = {name: DomainConfig(train=source) for name, source in _by_column(experts.domains, experts.field)}
        say(f"experts: {', '.join(found)}, as the column `{experts.field}` of {experts.domains} names them")
    else:
        found = {path.name.split(".")[0]: DomainConfig(train=str(path)) for path in _files(experts.domains, place)}
        say(f"experts: {', '.join(found)}, as the files of {experts.domains} are called")
    if len(found) < 2:
        raise RecipeError(f"{place}: there is one domain, {', '.join(found) or 'none'}; a merge takes two or more")
    return found


def _files(folder: str, place: Place) -> list[Path]:
    path = Path(folder)
    if not path.is_dir():
        raise RecipeError(
            f"{place}: `experts.domains` is {folder}, no folder; name a folder with a file for each domain, a file "
            "with `experts.field`, or the domains with their files"
        )
    found = sorted(file for file in path.iterdir() if file.name.endswith(READABLE) and not file.name.startswith("."))
    if len(found) < 2:
        raise RecipeError(
            f"{place}: {folder} holds {len(found)} files of rows ({', '.join(READABLE[:5])}); two or more"
        )
    return found


def _by_column(file: str, column: str) -> Iterator[tuple[str, Source]]:
    """A source for each value of the column, in the order in which they come."""
    values: dict[str, None] = {}
    for row in read_rows(file):
        if isinstance(row.value, BadRow) or not isinstance(row.value, dict) or row.value.get(column) in (None, ""):
            raise DataError(
                f"{file}:{row.line}: no `{column}`, which `experts.field` asks for; give the row its domain"
            )
        values.setdefault(str(row.value[column]))
    for value in values:
        yield value, Source.model_validate({"path": file, "select": {"where": {column: value}}})
