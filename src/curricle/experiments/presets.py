"""Presets: named changes that a recipe takes on when asked: `preset: local-light`, `--preset local-light,micro-model`.

Three are built in; a recipe may add to them, or bring its own under `presets:`. They lie over the recipe's base and
under `--set`; an arm that sets the same key keeps its own value.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import RecipeError, nearest
from .arms import below
from .document import KeyPath, Place, Places, Tree, dotted
from .overrides import overlay

BUILT_IN: dict[str, Tree] = {
    "local-light": {
        "data": {"dataset_suffix": "small"},
        "distributed": {"enabled": False, "fsdp": None},
        "training": {
            "bf16": False,
            "fp16": False,
            "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 1,
            "max_steps": 20,
        },
    },
    "dem": {
        "training": {
            "learning_rate": 5.0e-5,
            "per_device_train_batch_size": 8,
            "num_train_epochs": 1.0,
            "activation_checkpointing": True,
        },
    },
    "micro-model": {
        "model": {
            "name_or_path": "nano:llama",
            "shape": {"num_hidden_layers": 8},
            "dtype": "float32",
            "attn_implementation": "auto",
            "quantization": None,
            "revision": None,
        },
    },
}
"""A try on one small machine: small files, one process, few steps; the settings of DEM's plan for experts; and a model
of a megabyte in the model's place."""


def with_presets(tree: Tree, places: Places, asked: Any, place: Place) -> tuple[Tree, Places]:
    """The recipe with the presets that are asked for laid over it, and where their keys were written."""
    names = [asked] if isinstance(asked, str) else list(asked or ())
    own = tree.get("presets")
    own = own if isinstance(own, dict) else {}
    found: Places = {}
    for name in names:
        if name not in BUILT_IN and name not in own:
            raise RecipeError(f"{place}: there is no preset `{name}`; {nearest(str(name), [*BUILT_IN, *own])}")
        built_in = BUILT_IN.get(name, {})
        found |= {path: Place(f"preset {name}", None, dotted(path)) for path in _paths(built_in)}
        found |= {path: at for path, at in below(places, ("presets", name)).items() if path}
        tree = overlay(overlay(tree, built_in), own.get(name) or {})
    return tree, found


def _paths(tree: Tree, above: KeyPath = ()) -> Iterator[KeyPath]:
    for key, value in tree.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from _paths(value, (*above, key))
