"""The JSON schema of recipes, for completion and checks in an editor, and the reference page of their keys.

Both come from the sections' own types and docstrings.
"""

from __future__ import annotations

import json
import typing
from typing import Any

from ..training.argument_table import TABLE, UNSET
from ..training.arguments import adapter
from .keys import all_fields, help_of, sections_in
from .recipe import Recipe, Settings


def recipe_schema() -> dict[str, Any]:
    """The schema as a dictionary (JSON Schema 2020-12)."""
    recipe = Recipe.model_json_schema(mode="validation")
    definitions = recipe.pop("$defs")
    settings = Settings.model_json_schema()
    settings.pop("$defs")
    arm = {**settings, "title": "Arm", "description": "What one arm changes."}
    definitions["Arm"] = _partial(arm)
    # A file that extends another may hold any part of a recipe; only the whole is required to be whole.
    definitions = {name: _partial(part) for name, part in definitions.items()}
    recipe["properties"]["training"] = _training_schema()
    definitions["Arm"]["properties"]["training"] = _training_schema()
    recipe["properties"]["arms"]["additionalProperties"] = {"anyOf": [{"$ref": "#/$defs/Arm"}, {"type": "null"}]}
    recipe["anyOf"] = [{"required": recipe.pop("required")}, {"required": ["extends"]}]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **recipe,
        "title": "Curricle recipe",
        "$defs": definitions,
    }


def schema() -> str:
    """The schema as the text of a file."""
    return json.dumps(recipe_schema(), indent=2, ensure_ascii=False)


def _partial(section: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in section.items() if key != "required"}


def _training_schema() -> dict[str, Any]:
    properties = {}
    for name, rule in TABLE.items():
        if rule.fate == "kept":
            default = {} if rule.default is UNSET else {"default": rule.default}
            properties[name] = {**adapter(name).json_schema(), "description": rule.note, **default}
    return {
        "type": "object",
        "description": help_of(Settings.model_fields["training"]),
        "properties": properties,
        "additionalProperties": False,
    }


def recipe_reference() -> str:
    """Every key of a recipe with its values, default and help, as Markdown."""
    plain = [(name, field) for name, field in Recipe.model_fields.items() if not sections_in(field.annotation)]
    plain.sort(key=lambda row: row[0] in Settings.model_fields)  # what makes it an experiment comes first
    out = [_table("At the top", plain)]
    for name, field in Recipe.model_fields.items():
        sections = sections_in(field.annotation)
        opening = help_of(field)
        for section in sections:
            listed = "[]" if typing.get_origin(field.annotation) is list else ""
            rows = [(f"{name}{listed}.{key}", inner) for key, inner in all_fields(section)]
            which = (
                ""
                if len(sections) == 1
                else f" with `metric: {_values(section.model_fields['metric'].annotation).strip('`')}`"
            )
            out.append(_table(f"`{name}`{which}", rows, opening))
            opening = ""
    return "\n".join(out)


def _table(title: str, rows: list[tuple[str, Any]], opening: str = "") -> str:
    lines = [
        f"### {title}",
        "",
        *([opening, ""] if opening else []),
        "| key | values | default | meaning |",
        "|---|---|---|---|",
    ]
    for key, field in rows:
        default = "needed" if field.is_required() else f"`{_shown(field.get_default(call_default_factory=True))}`"
        if sections_in(field.annotation) and not field.is_required():
            default = "" if default != "`null`" else "`null`"
        lines.append(
            f"| `{key}` | {_values(field.annotation)} | {default} | {help_of(field)} |".replace(" |  |", " | |")
        )
    return "\n".join([*lines, ""])


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str) if not isinstance(value, str) else value or '""'


def _values(annotation: Any) -> str:
    """A type in a person's words."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin is typing.Annotated:
        return _values(inner[0])
    if origin is list:
        return f"list of {_values(inner[0])}"
    if origin is dict:
        return "mapping"
    if inner:
        return " or ".join(_values(part) for part in inner if part is not type(None))
    if sections_in(annotation):
        return "mapping"
    return {str: "text", int: "whole number", float: "number", bool: "true, false"}.get(annotation, "any")
