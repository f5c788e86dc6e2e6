"""From one arm's settings to what training needs: tokenizer, tables, model, trainer. Each part is checked as it comes,
the cheap ones first: a data set with nothing to learn stops before any model is opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.account import remarks
from ..data.config import DataConfig
from ..data.encode import encode
from ..data.prompts import Prompts, make_prompts
from ..data.rows import Rows
from ..data.schema import Example
from ..data.sources import ExampleSource, read_examples
from ..data.system_prompts import PromptRows, SystemPrompts, read_system_prompts
from ..data.table import TokenTable
from ..data.templates import use_template
from ..errors import DataError
from ..evaluation.config import TextMeasurement
from ..models.config import ModelConfig
from ..runtime.cache import cache_root
from ..runtime.devices import Half, computing, rank_device
from ..runtime.files import atomic_folder
from ..runtime.fingerprint import fingerprint
from ..runtime.progress import say
from ..runtime.ranks import barrier, is_main, world_size
from ..training.arguments import Length, uses_bf16
from ..training.batches import StepPlan, plan_steps
from ..weighting.build import build_weighting
from .layering import make_depth
from .lora_gen import attach, check_cloud, untrained
from .ordering import make_order
from .recipe import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ..models.choose import Choice


@dataclass(frozen=True)
class Material:
    """Everything about an arm that does not need its model."""

    settings: Settings
    tokenizer: PreTrainedTokenizerBase
    train: TokenTable
    eval: TokenTable | None
    prompts: Prompts | None = None
    """The held-out rows as prompts, where answers are compared with references."""

    @property
    def pad_id(self) -> int:
        return self.tokenizer.pad_token_id or 0

    @cached_property
    def system_prompts(self) -> SystemPrompts:
        """Of all rows, for a cloud model to read."""
        return read_system_prompts(self.settings.data)

    def remarks(self) -> list[str]:
        """What reading and encoding left out, cut or changed, for a person."""
        tables = {"data.train": self.train, "data.eval": self.eval}
        return [f"{name}: {line}" for name, table in tables.items() if table for line in remarks(table.report)]


def _texts(source: ExampleSource) -> Iterator[str]:
    """What a nano model's tokenizer is trained on: the rows, and not how they are asked about, so that arms with other
    system prompts or questions have the same one."""
    for example in source:
        yield from filter(None, (example.text, example.prompt, example.completion))
        if example.units:
            yield from (*example.units, *example.references)
        else:
            yield from (message.content for message in example.messages if message.role != "system")


def gather(settings: Settings) -> Material:
    """Read and encode the data. A nano model's tokenizer is kept in the cache under the data it was trained on, so that
    every arm, seed and resume has the same."""
    from ..models.loading import load_tokenizer
    from .toy_base import make_base

    make_base(settings.model)
    data = settings.data
    source = read_examples(data, "train")
    held_out = read_examples(data, "eval") if data.eval is not None else None
    kept = None
    if settings.model.nano_type:
        rows = reduce(fingerprint, _texts(source), "")
        kept = cache_root() / "nano-tokenizers" / fingerprint(rows, settings.model.shape.get("vocab_size"))
    tokenizer = load_tokenizer(settings.model, folder=kept, texts=lambda: _texts(source))
    use_template(tokenizer, data.chat_template)
    train = encode(source, tokenizer, data)
    if held_out is None:
        return Material(settings, tokenizer, train, None)
    judged = encode(held_out, tokenizer, _judging(data))
    return Material(settings, tokenizer, train, judged, held_out_prompts(settings, tokenizer))


def _judging(data: DataConfig) -> DataConfig:
    """Whoever learns prompts too is judged by the answers like everybody else: arms that learn different tokens are
    compared on the same ones."""
    return data.model_copy(update={"learn": "every_turn"}) if data.learn == "all" else data


def held_out_prompts(settings: Settings, tokenizer: Any) -> Prompts | None:
    """The prompts of `data.eval`, as many as will be answered; None when nothing compares answers."""
    from .selecting import watched_entries

    texts = [entry for entry in settings.evaluation if isinstance(entry, TextMeasurement)]
    watched = watched_entries(settings)
    if not (texts or watched):
        return None
    rows: Iterable[Example] = read_examples(settings.data, "eval")
    most = settings.generation.num_examples if texts else max(entry.during_training or 0 for entry in watched)
    prompts = make_prompts(islice(rows, most), tokenizer, settings.data, settings.generation.max_new_tokens)
    compared = prompts.with_references()
    if not compared:
        raise DataError("no row of `data.eval` has a target to compare an answer with; take its text metrics out")
    return compared


_MANY_STEPS = 1000
"""How long a run is taken to be where its order is only looked at; the real length needs the data packed."""


def look_ahead(material: Material, seed: int, folder: str | Path) -> None:
    """Refuse what can be refused without loading the model: its labels and order, its folder, its attention, the
    trainer's arguments, its optimizer and schedule."""
    from ..training.rehearsal import rehearse
    from .measurable import refuse_unmeasurable

    refuse_unmeasurable(material)
    asked = material.settings.training["max_steps"]
    make_order(material, asked if asked > 0 else _MANY_STEPS, seed, tell=lambda line: None)
    choose(material)
    if material.settings.generator is not None:
        check_cloud(material.settings.generator)
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
        distributed=settings.distributed,
    )


def choose(material: Material) -> Choice:
    """The attention this arm's rows need, from the model's config alone."""
    import torch

    from ..models.choose import choose_attention
    from ..models.loading import check_weights, model_settings

    settings, config = material.settings, material.settings.model
    device = rank_device(bool(settings.training.get("use_cpu")))
    dtype = getattr(torch, half_of(settings) or config.dtype, torch.float32)
    model_config = model_settings(config, material.tokenizer)
    check_weights(config)
    return choose_attention(model_config, device, dtype, settings.data.packing, asked=config.attn_implementation)


def half_of(settings: Settings) -> Half | None:
    """The precision that training computes in, when it is not the weights' own."""
    return "bfloat16" if uses_bf16(settings.training) else "float16" if settings.training.get("fp16") else None


def make_model(material: Material, seed: int, folder: str | Path) -> Any:
    """The model with the attention its rows need, proved on itself."""
    from ..models.choose import FLASH
    from ..models.loading import load_model, refuse_prompt_learning
    from ..models.probe import verify_packing

    config, choice = material.settings.model, choose(material)
    if config.nano_type and (config.adapter or material.settings.generator) is not None:
        config = _saved_base(config, material, seed, Path(folder) / "base")
    model: Any = load_model(config, attn=choice.name, tokenizer=material.tokenizer, seed=seed)
    refuse_prompt_learning(model)
    settings = material.settings
    device = rank_device(bool(settings.training.get("use_cpu")))
    sharded = settings.distributed.fsdp is not None  # FSDP shards it on the way to the device
    if config.quantization is None and not sharded:
        model.to(device)
    if settings.data.packing == "ordered" and not (sharded and device.type == "cuda" and choice.name in FLASH):
        with computing(next(model.parameters()).device, half_of(settings)):
            choice = verify_packing(model, choice)
    say(str(choice))
    return model if settings.generator is None else attach(material, model, seed)


def _saved_base(config: ModelConfig, material: Material, seed: int, folder: Path) -> ModelConfig:
    """A nano model under an adapter or a generator is saved first: either is of no use without the weights below it.
    Only the first rank does: on the others transformers writes no weights."""
    from ..models.loading import load_model

    if is_main() and not folder.is_dir():
        base = load_model(config.model_copy(update={"adapter": None}), tokenizer=material.tokenizer, seed=seed)
        with atomic_folder(folder) as scratch:
            base.save_pretrained(scratch)
            material.tokenizer.save_pretrained(scratch)
    barrier()
    return config.model_copy(update={"name_or_path": str(folder), "shape": {}})


def rows_of(material: Material) -> Rows:
    data = material.settings.data
    weights = tuple(source.weight for source in data.sources("train"))
    weighted = any(weight != 1 for weight in weights)
    rows = Rows(data.max_length, data.packing, data.lookahead, material.pad_id, weights if weighted else None)
    if material.settings.generator is None:
        return rows
    return PromptRows(**vars(rows), prompts=material.system_prompts)


def make_trainer(material: Material, model: Any, seed: int, folder: str | Path) -> Any:
    """The recipe's trainer, on our rows, with its dials."""
    from .selecting import selection

    settings = material.settings
    arguments = _arguments(material, seed, folder, run_length(material, seed))
    order = make_order(material, arguments.max_steps, seed)
    dials = {
        "order": order,
        "weighting": build_weighting(settings.weighting),
        "depth": make_depth(material, order),
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


@dataclass(frozen=True)
class PlannedLayout:
    """How a recipe deals out rows, before there is a trainer."""

    per_device_train_batch_size: int
    gradient_accumulation_steps: int
    max_steps: int
    seed: int
    world_size: int = field(default_factory=world_size)
    process_index: int = 0


def layout_of(material: Material, seed: int) -> PlannedLayout:
    training = material.settings.training
    batch, accumulation = training["per_device_train_batch_size"], training["gradient_accumulation_steps"]
    return PlannedLayout(batch, accumulation, training["max_steps"], seed)


def plan_rows(material: Material, seed: int) -> StepPlan:
    """The run's rows by packing the uniform order: the same for every arm on the same data."""
    epochs = float(material.settings.training["num_train_epochs"])
    return plan_steps(material.train, rows_of(material), layout_of(material, seed), epochs)


def run_length(material: Material, seed: int) -> Length:
    """Steps of the run and of one pass."""
    plan, asked = plan_rows(material, seed), material.settings.training["max_steps"]
    return Length(asked if asked > 0 else plan.steps, plan.steps_per_epoch)


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

    if material.settings.trainer == "none":
        return make_model(untrained(material), seed, folder)
    settings, model_folder = material.settings, Path(folder) / "model"
    config = settings.model.model_copy(update={"name_or_path": str(model_folder), "shape": {}})
    if settings.model.adapter is None and settings.generator is None:
        return make_model(replace(material, settings=settings.model_copy(update={"model": config})), seed, folder)
    base = untrained(material)
    if settings.model.nano_type:
        beside = {"name_or_path": str(Path(folder) / "base"), "shape": {}}
        named = base.settings.model.model_copy(update=beside)
        base = replace(base, settings=base.settings.model_copy(update={"model": named}))
    model = make_model(base, seed, folder)
    if settings.generator is not None:
        return attach(material, model, seed, model_folder)
    return PeftModel.from_pretrained(model, model_folder)
