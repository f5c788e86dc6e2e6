"""A YAML file as a plain tree, and where each of its keys was written.

Scalars follow YAML 1.2, so `2e-5` is a number, and `no` (as in `eval_strategy: no`), `on` and `2024-01-01` are text. A
key written twice is an error: YAML would keep the last and drop the first without a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..errors import RecipeError

Tree = dict[str, Any]
KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Place:
    """Where a key was written: a file with its line, or an option of the command line."""

    source: str
    line: int | None
    key: str

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


Places = dict[KeyPath, Place]


class _Loader(yaml.SafeLoader):
    """The safe loader with the scalars of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  a class attribute of PyYAML, filled just below


_FLOAT = r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first)


def _whole_number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node))  # 007 is 7 in YAML 1.2, not octal


_Loader.add_constructor("tag:yaml.org,2002:int", _whole_number)


def dotted(path: KeyPath) -> str:
    """The path as a person writes it: `data.train[0].path`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def parse(text: str, source: str) -> tuple[Tree, Places]:
    """The mapping a YAML text holds, and the place of each key."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            found = "nothing" if node is None else "a list" if isinstance(node, yaml.SequenceNode) else "a value"
            raise RecipeError(f"{source}: a recipe is a mapping of `key: value` lines; found {found}")
        places = dict(_places(node, (), source))
        return loader.construct_document(node), places
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise RecipeError(f"{source}{line}: this is not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{source}: this is not YAML: {' '.join(str(error).split())}") from None
    finally:
        loader.dispose()


def _places(node: yaml.Node, path: KeyPath, source: str) -> Iterator[tuple[KeyPath, Place]]:
    if len(path) > 40:
        raise RecipeError(f"{source}:{node.start_mark.line + 1}: nested too deep, or an anchor that holds itself")
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            here = (*path, index)
            yield here, Place(source, item.start_mark.line + 1, dotted(here))
            yield from _places(item, here, source)
    elif isinstance(node, yaml.MappingNode):
        first_lines: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.tag.endswith(":merge"):
                yield from _places(value, path, source)
                continue
            if key.tag != "tag:yaml.org,2002:str":
                raise RecipeError(f"{source}:{line}: a key must be text; quote it: '{getattr(key, 'value', '?')}'")
            here = (*path, key.value)
            if key.value in first_lines:
                first = first_lines[key.value]
                raise RecipeError(
                    f"{source}:{line}: `{dotted(here)}` is written twice, first on line {first}; keep one"
                )
            first_lines[key.value] = line
            yield here, Place(source, line, dotted(here))
            yield from _places(value, here, source)


def read_document(path: str | Path) -> tuple[Tree, Places]:
    """The tree and places of a YAML file."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError(f"there is no recipe file {path}; the path is relative to {Path.cwd()}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot read the recipe {path}: {error}") from None
    return parse(text, str(path))


def parse_value(text: str, asked: str = "") -> Any:
    """One value as YAML reads it: `1e-4`, `[a, b]`, `{lora_r: 8}`, `null`, plain text."""
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or error
        raise RecipeError(f"{asked}the value {text!r} is not YAML: {problem}") from None
    finally:
        loader.dispose()


def as_written(value: Any) -> str:
    """A value inside a message, the way it looks in YAML."""
    return str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)


def write_document(tree: Tree) -> str:
    """The tree as YAML that reads back as the same tree; keys stay in their order."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=110)


class _Dumper(yaml.SafeDumper):
    """Quotes text that a reader of YAML 1.1 or of 1.2 would take for something else."""

    yaml_implicit_resolvers = {  # noqa: RUF012  a class attribute of PyYAML
        first: [
            *yaml.SafeDumper.yaml_implicit_resolvers.get(first, ()),
            *_Loader.yaml_implicit_resolvers.get(first, ()),
        ]
        for first in {*yaml.SafeDumper.yaml_implicit_resolvers, *_Loader.yaml_implicit_resolvers}
    }

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _number(dumper: yaml.SafeDumper, value: float) -> yaml.ScalarNode:
    text = {float("inf"): ".inf", float("-inf"): "-.inf"}.get(value, ".nan" if value != value else repr(value))
    if "e" in text and "." not in text:
        text = text.replace("e", ".0e")  # readers of YAML 1.1 take `2e-05` for text
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


_Dumper.add_representer(float, _number)
