"""Runs code nobody trusts, and judges it from outside: see `Sandbox`.

The names load where they are first used: the processes inside import this package too, and should stay small.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .box import Layer, Sandbox, layers
    from .config import Job, Limits, PythonTests, StdinTests, Verdict

__all__ = ["Job", "Layer", "Limits", "PythonTests", "Sandbox", "StdinTests", "Verdict", "layers"]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("." + ("box" if name in ("Layer", "Sandbox", "layers") else "config"), __name__), name)
