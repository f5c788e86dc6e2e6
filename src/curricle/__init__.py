"""Curricle: four dials of data efficiency for language models, each measured.

Names load where they are first used, so `import curricle` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .data.prepare import prepare
    from .errors import CurricleError
    from .experiments.compare import compare
    from .experiments.evaluate import evaluate
    from .experiments.predict import predict
    from .experiments.recipe import Recipe
    from .experiments.run import run, train
    from .experiments.score import score
    from .training.export import export
    from .training.hf import Trainer
    from .training.mixin import CurricleMixin
    from .training.sft import SFTTrainer

__all__ = [
    "CurricleError",
    "CurricleMixin",
    "Recipe",
    "SFTTrainer",
    "Trainer",
    "compare",
    "evaluate",
    "export",
    "predict",
    "prepare",
    "run",
    "score",
    "train",
]

_HOMES = {
    "CurricleError": "errors",
    "CurricleMixin": "training.mixin",
    "Recipe": "experiments.recipe",
    "SFTTrainer": "training.sft",
    "Trainer": "training.hf",
    "compare": "experiments.compare",
    "evaluate": "experiments.evaluate",
    "export": "training.export",
    "predict": "experiments.predict",
    "prepare": "data.prepare",
    "run": "experiments.run",
    "score": "experiments.score",
    "train": "experiments.run",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    from .errors import nearest

    raise AttributeError(f"curricle has no name `{name}`; {nearest(name, __all__)}", name=name)


def __dir__() -> list[str]:
    return list(__all__)
