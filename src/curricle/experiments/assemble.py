"""From an arm's material to its model and its trainer. What can be refused is refused before a model is opened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.table import TokenTable
from ..models.config import ModelConfig
from ..runtime.devices import computing, rank_device
from ..runtime.files import atomic_folder
from ..runtime.progress import say
from ..runtime.ranks import barrier, is_main
from ..training.arguments import Length
from ..weighting.build import build_weighting
from .chain import started
from .critic import check_critic, head_to_make, spread
from .generator import attach, check_cloud, untrained
from .layering import make_depth
from .material import Material, half_of, rows_of, run_length
from .ordering import make_order
from .recipe import Settings
from .selecting import refuse_too_few, selection

if TYPE_CHECKING:
    from ..models.choose import Choice


_MANY_STEPS = 1000
"""How long a run is taken to be where its order is only looked at; the real length needs the data packed."""


def look_ahead(material: Material, seed: int, folder: str | Path) -> None:
    """Refuse what can be refused without loading the model: its labels and order, its folder, its attention, the
    trainer's arguments, its optimizer and schedule."""
    from ..training.rehearsal import rehearse
    from .measurable import refuse_unmeasurable
    from .references import check_reference
    from .share.validation import check_search

    refuse_unmeasurable(material)
    check_reference(material)
    check_search(material)
    asked = material.settings.training["max_steps"]
    make_order(material, asked if asked > 0 else _MANY_STEPS, seed, tell=lambda line: None)
    choose(material)
    refuse_too_few(material, seed)
    if material.settings.generator is not None:
        check_cloud(material.settings.generator)
    if material.settings.critic is not None:
        check_critic(material)
    rehearse(_arguments(material, seed, folder, Length(1, 1)))


def _arguments(material: Material, seed: int, folder: str | Path, length: Length) -> Any:
    """The trainer's arguments, as the recipe has them."""
    from ..training.arguments import build_arguments

    settings = material.settings
    return build_arguments(
        settings.training,
        "trl" if settings.trainer == "trl" else "hf",
        output_dir=folder,
        seed=seed,
        evaluates=material.eval is not None,
        length=length,
        distributed=spread(settings),
    )


def choose(material: Material) -> Choice:
    """The attention this arm's rows need, from the model's config alone."""
    import torch

    from ..models.choose import choose_attention, refuse_running_state
    from ..models.loading import check_weights, model_settings

    settings, config = material.settings, material.settings.model
    device = rank_device(bool(settings.training.get("use_cpu")))
    dtype = getattr(torch, half_of(settings) or config.dtype, torch.float32)
    model_config = model_settings(config, material.tokenizer)
    if settings.data.packing == "ordered":
        refuse_running_state(model_config, device)
    check_weights(config)
    return choose_attention(model_config, device, dtype, settings.data.packing, asked=config.attn_implementation)


def make_model(material: Material, seed: int, folder: str | Path) -> Any:
    """The model with the attention its rows need, proved on itself."""
    from ..models.choose import FLASH
    from ..models.loading import load_model, refuse_prompt_learning
    from ..models.probe import verify_packing

    choice = choose(material)
    config = started(material.settings.model, folder)
    if base_is_ours(config) and (config.adapter or material.settings.generator) is not None:
        config = saved_base(config, material, seed, Path(folder) / "base")
    model: Any = load_model(
        config, attn=choice.name, tokenizer=material.tokenizer, seed=seed, value_head=head_to_make(material.settings)
    )
    refuse_prompt_learning(model)
    settings = material.settings
    device = rank_device(bool(settings.training.get("use_cpu")))
    sharded = settings.distributed.sharded is not None  # FSDP shards it on the way to the device
    if config.quantization is None and not sharded:
        model.to(device)
    if settings.data.packing == "ordered" and not (sharded and device.type == "cuda" and choice.name in FLASH):
        with computing(next(model.parameters()).device, half_of(settings)):
            choice = verify_packing(model, choice)
    say(str(choice))
    return model if settings.generator is None else attach(material, model, seed)


def base_is_ours(config: ModelConfig) -> bool:
    """Whether what lies below an adapter is made in the run: all of a nano model, or the heads of a loaded one."""
    return config.nano_type is not None or config.mtp is not None


def saved_base(config: ModelConfig, material: Material, seed: int, folder: Path) -> ModelConfig:
    """Such a model under an adapter or a generator is saved first: either is of no use without the weights below it.
    Only the first rank does: on the others transformers writes no weights."""
    from ..models.loading import load_model

    if is_main() and not folder.is_dir():
        base = load_model(config.model_copy(update={"adapter": None}), tokenizer=material.tokenizer, seed=seed)
        with atomic_folder(folder) as scratch:
            base.save_pretrained(scratch)
            material.tokenizer.save_pretrained(scratch)
    barrier()
    return config.model_copy(update={"name_or_path": str(folder), "shape": {}})


def make_trainer(material: Material, model: Any, seed: int, folder: str | Path) -> Any:
    """The recipe's trainer, on our rows, with its dials."""
    from .references import reference_losses

    settings = material.settings
    arguments = _arguments(material, seed, folder, run_length(material, seed))
    order = make_order(material, arguments.max_steps, seed)
    dials = {
        "order": order,
        "weighting": build_weighting(settings.weighting, seed),
        "reference_losses": reference.loss_t if (reference := reference_losses(material, seed, folder)) else None,
        "depth": make_depth(material, order),
        "critic": settings.critic,
    }
    return _trainer_class(settings)(
        model=model,
        args=arguments,
        train_dataset=material.train,
        eval_dataset=_judged_on(material),
        processing_class=material.tokenizer,
        rows=rows_of(material),
        **dials,
        **selection(material, arguments, seed),
    )


def _trainer_class(settings: Settings) -> Any:
    """Imported when it is used: TRL takes seconds to load."""
    if settings.generator is not None:
        from ..training.lora_gen import LoraGenTrainer

        return LoraGenTrainer
    if settings.trainer == "trl":
        from ..training.sft import SFTTrainer

        return SFTTrainer
    from ..training.hf import Trainer

    return Trainer


def _judged_on(material: Material) -> TokenTable | None:
    """The held-out examples that training looks at; the final measurement takes all of them."""
    num = material.settings.selection.num_examples
    if material.eval is None or num is None or material.settings.selection.metric != "loss":
        return material.eval
    return material.eval.head(num)


def load_saved(material: Material, seed: int, folder: str | Path) -> Any:
    """The model that a finished run saved in `folder/model`, with the attention its rows need. An arm that trains
    nothing has the model it started from, without the adapter that nothing has trained."""
    from peft import PeftModel

    from ..models.value_head import match_head

    if not material.settings.trains and material.settings.merge is None:
        return make_model(untrained(material), seed, folder)
    settings, model_folder = material.settings, Path(folder) / "model"
    config = settings.model.model_copy(update={"name_or_path": str(model_folder), "shape": {}, "from_arm": None})
    if settings.merge is not None:  # a merged model is whole, whatever it is made of
        config = config.model_copy(update={"adapter": None})
    if config.adapter is None and settings.generator is None:
        return make_model(replace(material, settings=settings.model_copy(update={"model": config})), seed, folder)
    base = untrained(material)
    if base_is_ours(settings.model):
        beside = {"name_or_path": str(Path(folder) / "base"), "shape": {}}
        named = base.settings.model.model_copy(update=beside)
        base = replace(base, settings=base.settings.model_copy(update={"model": named}))
    model = make_model(base, seed, folder)
    if settings.generator is not None:
        return attach(material, model, seed, model_folder)
    match_head(model, model_folder)
    return PeftModel.from_pretrained(model, model_folder)
