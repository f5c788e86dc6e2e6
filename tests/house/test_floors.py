"""The floor law: a room imports from lower floors and from its own folder, and TRL lives in one room only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

FLOORS = {
    "errors": -1,  # the ground: everything may raise, so it imports nothing of ours
    "runtime": 0,
    "data": 1, "losses": 1, "sandbox": 1,
    "models": 2, "curriculum": 2, "weighting": 2, "planning": 2,
    "generation": 3, "difficulty": 3,
    "training": 4, "experts": 4, "evaluation": 4, "synthesis": 4,
    "experiments": 5,
    "cli": 6,
    "__init__": 7, "__main__": 7,
}  # fmt: skip
MAY_IMPORT_TRL = {"training", "__init__"}
PACKAGE = Path(__file__).resolve().parents[2] / "src" / "curricle"


def imported_modules(tree: ast.AST, module: tuple[str, ...], is_package: bool) -> Iterator[str]:
    """Absolute dotted names of everything a module imports, wherever in it: TYPE_CHECKING and function bodies too.

    `from a import b` counts as `a.b`: b may be a module, and if it is not, the room is the same.
    """
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=source, names=names, level=level):
                base = module[: len(module) + is_package - level] if level else ()
                start = ".".join((*base, *(source.split(".") if source else ())))
                yield from (f"{start}.{alias.name}" for alias in names)
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__"), args=args
            ):
                yield from (arg.value for arg in args[:1] if isinstance(arg, ast.Constant))


def breaches(package: Path) -> list[str]:
    """Every import in a source tree that the law forbids."""
    found = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        module = parts[:-1] if is_package else parts
        room = parts[1]
        for name in imported_modules(ast.parse(path.read_text(encoding="utf-8")), module, is_package):
            if why := _forbidden(room, name.split(".")):
                found.append(f"{'/'.join(parts[1:])}.py imports {name}: {why}")
    return found


def _forbidden(room: str, target: list[str]) -> str | None:
    if target[0] == "trl" and room not in MAY_IMPORT_TRL:
        return "only training/ may import trl"
    if target[0] != PACKAGE.name or target[1:2] == [room]:
        return None
    other = target[1] if len(target) > 1 else "__init__"
    if room not in FLOORS:
        return f"{room}/ is on no floor"
    if other not in FLOORS:
        return f"{other} is no room; import from the room itself, not from the top of the package"
    if FLOORS[other] >= FLOORS[room]:
        return f"{other} is on floor {FLOORS[other]}, {room} on floor {FLOORS[room]}"
    return None


def test_every_import_goes_down() -> None:
    assert breaches(PACKAGE) == []


@pytest.mark.parametrize(
    ("path", "line", "why"),
    [
        ("data/read.py", "from ..training import mixin", "floor 4"),
        ("data/read.py", "from .. import losses", "floor 1"),
        ("data/read.py", "from curricle.experiments.recipe import Recipe", "floor 5"),
        ("data/read.py", "import curricle.cli", "floor 6"),
        ("data/__init__.py", "from ..models.nano import nano_config", "floor 2"),
        ("data/deep/read.py", "from ...cli import app", "floor 6"),
        ("losses/token.py", "if TYPE_CHECKING:\n    from ..models import head", "floor 2"),
        ("losses/token.py", "def late():\n    import trl.trainer", "only training/"),
        ("models/load.py", "importlib.import_module('curricle.training')", "floor 4"),
        ("models/load.py", "from .. import Trainer", "is no room"),
        ("attic/box.py", "from ..errors import DataError", "on no floor"),
    ],
)
def test_a_breach_is_seen(tmp_path: Path, path: str, line: str, why: str) -> None:
    file = tmp_path / "curricle" / path
    file.parent.mkdir(parents=True)
    file.write_text(line, encoding="utf-8")
    [found] = breaches(tmp_path / "curricle")
    assert why in found


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("training/mixin.py", "import trl\nfrom ..data.table import TokenTable\nfrom .monitors import Monitor"),
        ("data/__init__.py", "from .table import TokenTable\nfrom ..runtime import files"),
        ("cli/deep/app.py", "from ..options import names\nfrom ...experiments.run import run\nimport numpy"),
    ],
)
def test_what_is_allowed_passes(tmp_path: Path, path: str, line: str) -> None:
    file = tmp_path / "curricle" / path
    file.parent.mkdir(parents=True)
    file.write_text(line, encoding="utf-8")
    assert breaches(tmp_path / "curricle") == []
