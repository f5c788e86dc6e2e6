"""Which expert in what share: weights searched by the held-out loss of every domain, without writing a model.

The search loads where it is used; its settings (`config`) are a part of recipes, and are read without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .found import Found
    from .search import search_weights
    from .starts import check_budget

__all__ = ["Found", "check_budget", "search_weights"]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    places = {"Found": "found", "check_budget": "starts", "search_weights": "search"}
    if name not in places:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(f"{__name__}.{places[name]}"), name)
