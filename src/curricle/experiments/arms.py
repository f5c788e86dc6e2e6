"""Arms: named variants of a base. A grid is a short way to write many."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import RecipeError
from .document import KeyPath, Place, Places, Tree
from .overrides import overlay, put

BASE = "base"


def expand(tree: Tree, places: Places) -> Iterator[tuple[str, Tree, Places]]:
    """Each arm's name, its changes to the base, and where these are written. One arm, `base`, when none are named."""
    arms: Mapping[str, Tree | None] = tree.get("arms") or {BASE: {}}
    grid: Mapping[str, list[Any]] = tree.get("grid") or {}
    for name, changes in arms.items():
        own = below(places, ("arms", name))
        for point, values, written in _points(grid, places):
            whole = name if not point else point if name == BASE and not tree.get("arms") else f"{name}+{point}"
            _refuse_overlap(name, changes or {}, values)
            yield whole, overlay(changes or {}, values), {**own, **written}


def below(places: Places, path: KeyPath) -> Places:
    """The places under a path, seen from there; the path itself is ()."""
    return {key[len(path) :]: place for key, place in places.items() if key[: len(path)] == path}


def _points(grid: Mapping[str, list[Any]], places: Places) -> Iterator[tuple[str, Tree, Places]]:
    labels = _short_names(list(grid))
    for choice in itertools.product(*(range(len(values)) for values in grid.values())):
        tree: Tree = {}
        written: Places = {}
        parts = []
        for (key, values), index in zip(grid.items(), choice, strict=True):
            path = tuple(key.split("."))
            place = places.get(("grid", key)) or Place("recipe", None, f"grid.{key}")
            put(tree, path, values[index], str(place))
            for depth in range(len(path)):
                written[path[: depth + 1]] = place
            parts.append(f"{labels[key]}={_value_name(values, index)}")
        yield "+".join(parts), tree, written


def _short_names(keys: list[str]) -> dict[str, str]:
    """The last part of each dotted key, and more of it where two would be alike."""
    names = {}
    for key in keys:
        parts = key.split(".")
        own = range(1, len(parts) + 1)
        tails = (".".join(parts[-count:]) for count in own)
        names[key] = next((tail for tail in tails if sum(f".{other}".endswith(f".{tail}") for other in keys) == 1), key)
    return names


def _value_name(values: list[Any], index: int) -> str:
    """A value as part of a folder's name; its number where it cannot be one, or would be another's."""
    names = [_plain(value) for value in values]
    name = names[index]
    return name if name is not None and names.count(name) == 1 else f"v{index}"


def _plain(value: Any) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "none"
    if isinstance(value, int | float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    if isinstance(value, str) and re.fullmatch(r"[\w.-]{1,40}", value):
        return value
    return None


def _refuse_overlap(name: str, changes: Tree, values: Tree) -> None:
    for key in _leaves(values):
        part: Any = changes
        for step in key:
            part = part.get(step, _ABSENT) if isinstance(part, Mapping) else _ABSENT
        if part is not _ABSENT:
            raise RecipeError(f"`grid` and arm `{name}` both set `{'.'.join(map(str, key))}`; keep one")


_ABSENT = object()


def _leaves(tree: Tree, path: KeyPath = ()) -> Iterator[KeyPath]:
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key)
