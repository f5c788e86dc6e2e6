"""Curricle: four dials of data efficiency for language models, each measured.

Names load where they are first used, so `import curricle` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import CurricleError

_HOMES = {
    "CurricleError": "errors",
}

__all__ = ["CurricleError"]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    from .errors import nearest

    raise AttributeError(f"curricle has no name `{name}`; {nearest(name, __all__)}", name=name, obj=None)


def __dir__() -> list[str]:
    return list(__all__)
