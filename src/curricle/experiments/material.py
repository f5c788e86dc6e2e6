"""What an arm works on, read and encoded, and how its rows are dealt out: all that does not need its model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, reduce
from itertools import islice
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
from ..runtime.cache import cache_root
from ..runtime.devices import Half
from ..runtime.fingerprint import fingerprint
from ..runtime.ranks import world_size
from ..training.arguments import Length, uses_bf16
from ..training.batches import StepPlan, plan_steps
from .recipe import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


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
    from .toys.base import make_base
    from .toys.sources import place_given

    make_base(settings.model)
    data = settings.data
    source = read_examples(data, "train")
    held_out = read_examples(data, "eval") if data.eval is not None else None
    kept = None
    read = source
    if settings.model.nano_type:
        if settings.model.vocabulary is not None:
            read = read_examples(data.model_copy(update={"train": place_given(settings.model.vocabulary)}), "train")
        rows = reduce(fingerprint, _texts(read), "")
        kept = cache_root() / "nano-tokenizers" / fingerprint(rows, settings.model.shape.get("vocab_size"))
    tokenizer = load_tokenizer(settings.model, folder=kept, texts=lambda: _texts(read))
    use_template(tokenizer, data.chat_template)
    train = encode(source, tokenizer, data)
    if held_out is None:
        return Material(settings, tokenizer, train, None)
    judged = encode(held_out, tokenizer, judging(data))
    return Material(settings, tokenizer, train, judged, held_out_prompts(settings, tokenizer))


def judging(data: DataConfig) -> DataConfig:
    """Whoever learns prompts too is judged by the answers like everybody else: arms that learn different tokens are
    compared on the same ones."""
    return data.model_copy(update={"learn": "every_turn"}) if data.learn == "all" else data


def held_out_prompts(settings: Settings, tokenizer: Any) -> Prompts | None:
    """The prompts of `data.eval`, as many as will be answered; None when nothing compares answers."""
    texts = [entry for entry in settings.evaluation if isinstance(entry, TextMeasurement)]
    watched = settings.watched()
    if not (texts or watched):
        return None
    rows: Iterable[Example] = read_examples(settings.data, "eval")
    most = settings.generation.num_examples if texts else max(entry.during_training or 0 for entry in watched)
    prompts = make_prompts(islice(rows, most), tokenizer, settings.data, settings.generation.max_new_tokens)
    compared = prompts.with_references()
    if not compared:
        raise DataError("no row of `data.eval` has a target to compare an answer with; take its text metrics out")
    return compared


def half_of(settings: Settings) -> Half | None:
    """The precision that training computes in, when it is not the weights' own."""
    return "bfloat16" if uses_bf16(settings.training) else "float16" if settings.training.get("fp16") else None


def rows_of(material: Material) -> Rows:
    data = material.settings.data
    weights = tuple(source.weight for source in data.sources("train"))
    weighted = any(weight != 1 for weight in weights)
    rows = Rows(data.max_length, data.packing, data.lookahead, material.pad_id, weights if weighted else None)
    if material.settings.generator is None:
        return rows
    return PromptRows(**vars(rows), prompts=material.system_prompts)


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
    training, distributed = material.settings.training, material.settings.distributed
    batch, written = training["per_device_train_batch_size"], training["gradient_accumulation_steps"]
    accumulation = distributed.accumulation(batch, written, world_size())
    return PlannedLayout(batch, accumulation, training["max_steps"], seed)


def plan_rows(material: Material, seed: int) -> StepPlan:
    """The run's rows by packing the uniform order: the same for every arm on the same data."""
    epochs = float(material.settings.training["num_train_epochs"])
    return plan_steps(material.train, rows_of(material), layout_of(material, seed), epochs)


def run_length(material: Material, seed: int) -> Length:
    """Steps of the run and of one pass."""
    plan, asked = plan_rows(material, seed), material.settings.training["max_steps"]
    return Length(asked if asked > 0 else plan.steps, plan.steps_per_epoch)
