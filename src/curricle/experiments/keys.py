"""Which keys a recipe has, found in the sections' own types; what the hints, the documentation and the tests go by."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterator
from typing import Any

from pydantic.fields import FieldInfo

from ..errors import nearest
from ..runtime.config import Section
from ..training.argument_table import TABLE
from .document import KeyPath

ARGUMENTS = {name: rule.note for name, rule in TABLE.items() if rule.fate == "kept"}


_OWN_SENSE = ("difficulty.seed", "select.seed", "search.seed")
"""Ends of keys that nobody means who writes their name elsewhere: a seed is the run's."""


def sections_in(annotation: Any) -> list[type[Section]]:
    """The sections that a value of this type may be, or hold in a list."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    if typing.get_origin(annotation) is dict:
        return []
    found = [section for part in typing.get_args(annotation) for section in sections_in(part)]
    return list(dict.fromkeys(found))


def section_keys(root: type[Section], path: KeyPath) -> dict[str, str] | None:
    """The keys allowed at a path, with their help; None where any key is."""
    if path == ("training",):
        return ARGUMENTS
    here = [root]
    for part in path:
        if isinstance(part, str):
            fields = [section.model_fields[part] for section in here if part in section.model_fields]
            here = [inner for field in fields for inner in sections_in(field.annotation)]
    return {name: help_of(field) for section in here for name, field in section.model_fields.items()} or None


def help_of(field: FieldInfo) -> str:
    """A field's docstring in one line."""
    return " ".join((field.description or "").split())


def all_fields(root: type[Section], above: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every field of every section by dotted name, sections first, lists marked by []."""
    for name, field in root.model_fields.items():
        key = f"{above}{name}"
        yield key, field
        for inner in sections_in(field.annotation):
            in_list = "list" in str(field.annotation)
            yield from all_fields(inner, f"{key}[]." if in_list else f"{key}.")


def all_keys(root: type[Section]) -> list[str]:
    """Every key by dotted name, the arguments of `training` included."""
    return [*dict.fromkeys(key for key, _ in all_fields(root)), *(f"training.{name}" for name in ARGUMENTS)]


def hint(root: type[Section], path: KeyPath) -> str:
    """What somebody who wrote an unknown key may have meant."""
    name = str(path[-1])
    here = section_keys(root, path[:-1]) or {}
    beside = difflib.get_close_matches(name, here, n=1, cutoff=0.75)
    if beside:
        return f"did you mean `{beside[0]}`?"
    elsewhere = {key.rpartition(".")[2]: key for key in reversed(all_keys(root)) if not key.endswith(_OWN_SENSE)}
    if name in elsewhere:
        return f"it belongs in `{elsewhere[name]}`"
    far = difflib.get_close_matches(name, elsewhere, n=1, cutoff=0.8)
    return f"did you mean `{elsewhere[far[0]]}`?" if far else nearest(name, here)
