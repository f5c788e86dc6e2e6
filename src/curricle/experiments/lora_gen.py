"""LoRA-Gen in recipes: the generator around the model of an arm, and a trained one's adapters as plain files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError, RecipeError, RunError
from ..models.config import LoraGenConfig, ModelConfig
from ..runtime.files import atomic_folder, read_json
from ..runtime.progress import say
from ..runtime.quiet import calm_libraries
from ..runtime.seeds import derive_seed
from ..training.export import find_run
from .toy_base import place_base

if TYPE_CHECKING:
    from ..models.lora_gen.model import LoraGenModel
    from .assemble import Material


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


@calm_libraries()
def train(recipe: str | Path, **asked: Any) -> Any:
    """`curricle.train` of a recipe whose arms have `model.lora_gen`."""
    from .resolve import resolve
    from .run import train as train_recipe

    arms = resolve(recipe, asked.get("overrides") or ()).arms
    if not any(arm.settings.generator for arm in arms.values()):
        raise RecipeError(f"no arm of {recipe} has `model.lora_gen`; add `lora_gen: {{cloud: FOLDER}}` under `model`")
    return train_recipe(recipe, **asked)


@calm_libraries()
def export(
    run: str | Path,
    system_prompt: str,
    out: str | Path,
    *,
    merge: bool = False,
    base: str | None = None,
    cloud: str | None = None,
    force: bool = False,
) -> Path:
    """What a trained generator makes of `system_prompt`: a PEFT adapter, or with `merge` the whole edge model.

    `base` and `cloud` name the two models where they are no longer where the run found them.
    """
    import torch

    from ..models.loading import load_model, load_tokenizer
    from ..models.lora_gen.adapter import merge as merge_into
    from ..models.lora_gen.adapter import write_adapter
    from ..models.lora_gen.cloud import Cloud
    from ..models.lora_gen.model import LoraGenModel, load_generator

    folder, out = find_run(Path(run)), Path(out)
    _refuse_full(out, force)
    generator = load_generator(folder / "model")
    edge_config = _edge_of(folder, base)
    config = generator.config if cloud is None else generator.config.model_copy(update={"cloud": cloud})
    check_cloud(config)
    edge: Any = load_model(edge_config)
    with torch.no_grad():
        model = LoraGenModel(edge, generator, Cloud.load(config), [system_prompt])
        gates_le = model.gates_of([system_prompt])[0]
    model.lora.remove()
    name = edge_config.name_or_path
    name = str(Path(name).resolve()) if Path(name).is_dir() else name
    if merge:
        merge_into(edge, generator, gates_le)
        tokenizer = load_tokenizer(edge_config.model_copy(update={"name_or_path": str(folder / "model")}))
        with atomic_folder(out) as scratch:
            edge.save_pretrained(scratch)
            tokenizer.save_pretrained(scratch)
    else:
        write_adapter(edge, generator, gates_le, out, name)
    say(f"{out}: {'whole model' if merge else f'LoRA adapter of {name}'}; {_shares(gates_le)}")
    return out


def _shares(gates_le: Any) -> str:
    """The experts by how much they carry, for a person."""
    shares_e = gates_le.mean(0).tolist()
    most = sorted(range(len(shares_e)), key=lambda e: -shares_e[e])[:4]
    return "experts " + ", ".join(f"{e} ({shares_e[e]:.0%})" for e in most if shares_e[e])


def _refuse_full(out: Path, force: bool) -> None:
    if out.exists() and not out.is_dir():
        raise RunError(f"{out} is a file; give a folder to write to")
    if out.exists() and any(out.iterdir()) and not force:
        raise RunError(f"{out} is not empty; give another folder, or --force to replace it")


def _edge_of(folder: Path, base: str | None) -> ModelConfig:
    """The model that the run's generator was trained for: a nano model's lies beside it."""
    model = place_base(ModelConfig.model_validate(read_json(folder / "arm.json")["settings"]["model"]))
    beside = folder / "base"
    name = base or (str(beside) if beside.is_dir() else model.name_or_path)
    return model.model_copy(update={"name_or_path": name, "shape": {}, "lora_gen": None})


def untrained(material: Material) -> Material:
    """The same arm with the model as it came: neither adapter nor generator."""
    model = material.settings.model.model_copy(update={"adapter": None, "lora_gen": None})
    return replace(material, settings=material.settings.model_copy(update={"model": model}))
