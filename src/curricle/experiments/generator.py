"""LoRA-Gen in an arm: the generator around its model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError
from ..models.config import LoraGenConfig, ModelConfig
from ..runtime.progress import say
from ..runtime.seeds import derive_seed

if TYPE_CHECKING:
    from ..models.lora_gen.model import LoraGenModel
    from .material import Material


def attach(material: Material, edge: Any, seed: int, saved: Path | None = None) -> LoraGenModel:
    """The edge model with a fresh generator, or the one in the folder `saved`; what is drawn follows from `seed`."""
    import torch

    from ..models.lora_gen.cloud import Cloud
    from ..models.lora_gen.model import LoraGenModel, load_generator

    config, prompts = material.settings.generator, material.system_prompts.texts
    assert config is not None
    cloud = Cloud.load(config)
    if saved is not None:
        return LoraGenModel(edge, load_generator(saved).to(edge.device), cloud, prompts)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, "lora_gen"))
        model = LoraGenModel.fresh(edge, cloud, prompts, config)
    model.generator.to(edge.device)
    trained = sum(parameter.numel() for parameter in model.generator.parameters())
    say(f"LoRA-Gen: {len(prompts):,} system prompts, read by {config.cloud}; {trained:,} weights are trained")
    return model


def check_cloud(config: LoraGenConfig) -> None:
    """Refuse a folder without weights, before anything is loaded."""
    from ..models.loading import check_weights

    try:
        check_weights(ModelConfig(name_or_path=config.cloud))
    except ModelError as error:
        raise ModelError(str(error).replace("model.name_or_path", "model.lora_gen.cloud")) from error


def added_numbers(model: Any, config: LoraGenConfig) -> tuple[int, int]:
    """How many numbers the cloud and the generator add to a model without memory, and how many of them are trained."""
    import torch
    from transformers import AutoModelForCausalLM

    from ..models.loading import model_settings
    from ..models.lora_gen.edge import find_targets, widths_of
    from ..models.lora_gen.generator import LoraGenerator

    settings = model_settings(ModelConfig(name_or_path=config.cloud))
    with torch.device("meta"):
        cloud: Any = AutoModelForCausalLM.from_config(settings)  # type: ignore[no-untyped-call]
        width = cloud.get_input_embeddings().weight.shape[1]
        generator = LoraGenerator(widths_of(model, find_targets(model, config.targets)), width, config)
    trained = sum(parameter.numel() for parameter in generator.parameters())
    return trained + cloud.base_model.num_parameters(), trained


def untrained(material: Material) -> Material:
    """The same arm with the model as it came: neither adapter nor generator."""
    model = material.settings.model.model_copy(update={"adapter": None, "lora_gen": None})
    return replace(material, settings=material.settings.model_copy(update={"model": model}))
