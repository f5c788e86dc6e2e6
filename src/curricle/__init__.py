"""Curricle: four dials of data efficiency for language models, each measured.

Names load where they are first used, so `import curricle` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .curriculum.names import CurriculumConfig, CurriculumTrainingScheduler, LayerSpecificCurriculumScheduler
    from .difficulty.names import DifficultyScorer, MetaTokenExtractor
    from .errors import CurricleError
    from .experiments.analysis.analyze import analyze
    from .experiments.analyzer import MetaTokenDifferenceAnalyzer
    from .experiments.compare import compare
    from .experiments.evaluate import evaluate
    from .experiments.labels.probe import probe
    from .experiments.labels.score import score
    from .experiments.named_data import load_dataset
    from .experiments.predict import predict
    from .experiments.preparing import prepare
    from .experiments.recipe import Recipe
    from .experiments.run import run, train
    from .experiments.searching import search_weights
    from .experts.making import difference
    from .experts.merging.merge import merge
    from .models.mtp.adapter import MetaLlamaMTPAdapter
    from .training.export import export
    from .training.hf import Trainer
    from .training.length_loader import CurriculumDataLoader
    from .training.mixin import CurricleMixin
    from .training.sampling import CurriculumDataset, CurriculumSampler, create_curriculum_dataloader
    from .training.sft import SFTTrainer

__all__ = [
    "CurricleError",
    "CurricleMixin",
    "CurriculumConfig",
    "CurriculumDataLoader",
    "CurriculumDataset",
    "CurriculumSampler",
    "CurriculumTrainingScheduler",
    "DifficultyScorer",
    "LayerSpecificCurriculumScheduler",
    "MetaLlamaMTPAdapter",
    "MetaTokenDifferenceAnalyzer",
    "MetaTokenExtractor",
    "Recipe",
    "SFTTrainer",
    "Trainer",
    "analyze",
    "compare",
    "create_curriculum_dataloader",
    "difference",
    "evaluate",
    "export",
    "load_dataset",
    "merge",
    "predict",
    "prepare",
    "probe",
    "run",
    "score",
    "search_weights",
    "train",
]

_HOMES = {
    "CurricleError": "errors",
    "CurricleMixin": "training.mixin",
    "CurriculumConfig": "curriculum.names",
    "CurriculumDataLoader": "training.length_loader",
    "CurriculumDataset": "training.sampling",
    "CurriculumSampler": "training.sampling",
    "CurriculumTrainingScheduler": "curriculum.names",
    "DifficultyScorer": "difficulty.names",
    "LayerSpecificCurriculumScheduler": "curriculum.names",
    "MetaLlamaMTPAdapter": "models.mtp.adapter",
    "MetaTokenDifferenceAnalyzer": "experiments.analyzer",
    "MetaTokenExtractor": "difficulty.names",
    "Recipe": "experiments.recipe",
    "SFTTrainer": "training.sft",
    "Trainer": "training.hf",
    "analyze": "experiments.analysis.analyze",
    "compare": "experiments.compare",
    "create_curriculum_dataloader": "training.sampling",
    "difference": "experts.making",
    "evaluate": "experiments.evaluate",
    "export": "training.export",
    "load_dataset": "experiments.named_data",
    "merge": "experts.merging.merge",
    "predict": "experiments.predict",
    "prepare": "experiments.preparing",
    "probe": "experiments.labels.probe",
    "run": "experiments.run",
    "score": "experiments.labels.score",
    "search_weights": "experiments.searching",
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
