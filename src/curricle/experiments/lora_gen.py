"""LoRA-Gen in recipes: train a recipe, and write a trained generator's adapters as plain files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RecipeError, RunError
from ..models.config import ModelConfig
from ..runtime.files import atomic_folder, read_json
from ..runtime.progress import say
from ..runtime.quiet import calm_libraries
from ..runtime.rundir import find_run
from .generator import check_cloud
from .toys.base import place_base

if TYPE_CHECKING:
    pass


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
