"""Trees of settings laid over one another: `extends:`, `--set a.b=c`, arms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import RecipeError
from .document import KeyPath, Place, Places, Tree, dotted, parse_value


def overlay(under: Any, over: Any) -> Any:
    """Mappings are merged key by key; everything else, lists included, is replaced.

    >>> overlay({"a": {"x": 1, "y": 2}, "b": [1]}, {"a": {"y": 3}, "b": []})
    {'a': {'x': 1, 'y': 3}, 'b': []}
    """
    if not (isinstance(under, Mapping) and isinstance(over, Mapping)):
        return over
    merged = dict(under)
    for key, value in over.items():
        merged[key] = overlay(under[key], value) if key in under else value
    return merged


def put(tree: Tree, path: tuple[str, ...], value: Any, asked: str) -> None:
    """Set one key, making the mappings on the way."""
    for depth, part in enumerate(path[:-1]):
        inner = tree.get(part)
        if inner is None:
            inner = tree[part] = {}
        if not isinstance(inner, dict):
            raise RecipeError(f"{asked}: `{dotted(path[: depth + 1])}` is {inner!r}, which has no keys of its own")
        tree = inner
    tree[path[-1]] = value


def read_sets(sets: Sequence[str]) -> tuple[Tree, Places]:
    """`["training.max_steps=60", "data.train=[a.jsonl, b.jsonl]"]` as a tree; values are YAML."""
    tree: Tree = {}
    places: Places = {}
    for asked in sets:
        key, equals, text = asked.partition("=")
        path = tuple(key.strip().split("."))
        if not equals or not all(path):
            raise RecipeError(f"--set takes key=value, such as training.max_steps=60; found {asked!r}")
        place = Place(f"--set {asked}", None, key.strip())
        if path[0] == "extends":
            raise RecipeError(f"{place}: `extends` is written in the recipe file; name that file as the recipe instead")
        put(tree, path, parse_value(text, f"{place}: "), str(place))
        for depth in range(1, len(path)):
            places.setdefault(path[:depth], Place(place.source, None, dotted(path[:depth])))
        places[path] = place
    return tree, places


def differences(old: Any, new: Any, path: KeyPath = ()) -> Iterator[str]:
    """What changed between two resolved recipes, a line a key.

    >>> list(differences({"a": {"x": 1}}, {"a": {"x": 2}}))
    ['`a.x` was 1, is 2']
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from differences(old.get(key), new.get(key), (*path, key))
    elif old != new:
        yield f"`{dotted(path)}` was {old}, is {new}"
