"""Names that people write out of habit, put where they belong, with a notice.

They come from older transformers, TRL, LLaMA-Factory, axolotl and ms-swift files, and from `training:` keys that have a
place of their own in a recipe. Nothing is guessed: a name is translated when it can mean one thing only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import RecipeError
from ..runtime.progress import say
from ..training.argument_table import ALREADY, TABLE
from .document import Place, Places, Tree, as_written, dotted


@dataclass(frozen=True)
class Move:
    to: str
    values: Mapping[Any, Any] | None = None
    note: str = ""
    must_agree: bool = False
    """The target has to be there, with this very value: the old name may repeat it, never set it."""


_ORDERED = {True: "ordered", False: "none"}
_TARGETS = {"all": "all-linear"}

OLD_NAMES: dict[str, Move] = {
    "warmup_ratio": Move("training.warmup_steps", note="a value below 1 is a share of all steps"),
    "group_by_length": Move(
        "data.packing", {True: "ordered", False: ALREADY}, "it saves padding, and packed rows hold none"
    ),
    "evaluation_strategy": Move("training.eval_strategy"),
    "no_cuda": Move("training.use_cpu"),
    "micro_batch_size": Move("training.per_device_train_batch_size"),
    "num_epochs": Move("training.num_train_epochs"),
    "epochs": Move("training.num_train_epochs"),
    "lr": Move("training.learning_rate"),
    "optimizer": Move("training.optim"),
    "lr_scheduler": Move("training.lr_scheduler_type"),
    "clip_grad_norm": Move("training.max_grad_norm"),
    "max_seq_length": Move("data.max_length"),
    "max_seq_len": Move("data.max_length"),
    "cutoff_len": Move("data.max_length"),
    "sequence_len": Move("data.max_length"),
    "sample_packing": Move("data.packing", _ORDERED),
    "neat_packing": Move("data.packing", _ORDERED),
    "train_on_inputs": Move("data.learn", {True: "all", False: ALREADY}),
    "train_on_prompt": Move("data.learn", {True: "all", False: ALREADY}),
    "mask_history": Move("data.learn", {True: "last_turn", False: ALREADY}),
    "preprocessing_num_workers": Move("data.num_workers"),
    "dataset_processes": Move("data.num_workers"),
    "model_name_or_path": Move("model.name_or_path"),
    "base_model": Move("model.name_or_path"),
    "tokenizer": Move("model.name_or_path", note="a tokenizer comes with its model", must_agree=True),
    "tokenizer_name_or_path": Move("model.name_or_path", note="a tokenizer comes with its model", must_agree=True),
    "processing_class": Move("model.name_or_path", note="a tokenizer comes with its model", must_agree=True),
    "attn_impl": Move("model.attn_implementation"),
    "torch_dtype": Move("model.dtype"),
    "lora_r": Move("model.adapter.lora_r"),
    "lora_rank": Move("model.adapter.lora_r"),
    "lora_alpha": Move("model.adapter.lora_alpha"),
    "lora_dropout": Move("model.adapter.lora_dropout"),
    "lora_target": Move("model.adapter.lora_target_modules", _TARGETS),
    "lora_target_modules": Move("model.adapter.lora_target_modules", _TARGETS),
    "batch_size_per_gpu": Move("training.per_device_train_batch_size"),
    "gradient_clipping": Move("training.max_grad_norm"),
    "mixed_precision": Move("training.bf16", {"bf16": True, "no": False}),
    "sharding_strategy": Move(
        "distributed.fsdp.reshard_after_forward",
        {"FULL_SHARD": True, "SHARD_GRAD_OP": False},
        "weights are sharded by FSDP2; leave `fsdp` out where each process is to hold all of them",
    ),
}
"""Translated in `SECTIONS`, where a section has no such key itself."""

IN_DISTRIBUTED = {
    name: Move(f"training.{name}") for name in ("gradient_accumulation_steps", "activation_checkpointing")
}
"""Names of `training:` that stand in `distributed:` elsewhere."""

NOT_HERE = dict.fromkeys(("num_workers", "pin_memory", "prefetch_factor"), TABLE["dataloader_num_workers"].note)
"""Refused where a section has no such key itself, and why."""

_PROMPT_LENGTHS = ("encoder_max_len", "max_source_length")
_ANSWER_LENGTHS = ("decoder_max_len", "max_target_length")
"""Lengths of an encoder and its decoder: a row here holds both, so that only their sum means something."""

Keys = tuple[str, ...]
_SPREAD: tuple[Keys, ...] = (("distributed",), ("distributed", "fsdp"), ("distributed", "data"))
SECTIONS: tuple[Keys, ...] = ((), ("training",), ("data",), ("model",), ("model", "adapter"), *_SPREAD)


def translate(tree: Tree, places: Places, known: Mapping[Keys, set[str]]) -> None:
    """Put every old name where it belongs, in the tree and in its places; `known` holds the keys of each section."""
    for section in SECTIONS:
        _join_lengths(tree, places, section)
        for name in NOT_HERE.keys() & (_take(tree, section) or {}).keys() - known[section]:
            place = places.get((*section, name)) or Place("recipe", None, dotted((*section, name)))
            raise RecipeError(f"{place}: `{place.key}` is refused: {NOT_HERE[name]}")
    for section, name, value, move in list(_habits(tree, known)):
        here = (*section, name)
        place = places.get(here) or Place("recipe", None, dotted(here))
        _take(tree, section).pop(name)
        places.pop(here, None)
        shown = f"{place}: `{place.key}: {as_written(value)}`"
        note = f" ({move.note})" if move.note else ""
        new = _new_value(move, value, shown)
        if new is ALREADY:
            say(f"{shown} asks for what happens anyway{note}; left out")
            continue
        target = tuple(move.to.split("."))
        if move.must_agree and _leaf(tree, target) != new:
            raise RecipeError(f"{shown} is not `{move.to}: {_leaf(tree, target)}`{note}; put the files in one folder")
        _put(tree, target, new, shown)
        places[target] = place
        for depth in range(1, len(target)):
            places.setdefault(target[:depth], place)
        say(f"{shown} is now `{move.to}: {as_written(new)}`{note}")
    if _take(tree, _SPREAD[-1]) == {}:  # all of it has gone to where it belongs
        _take(tree, _SPREAD[0]).pop("data")


def _join_lengths(tree: Tree, places: Places, section: Keys) -> None:
    """The length of a prompt and that of an answer make `data.max_length`; one of them alone does not."""
    held = _take(tree, section) or {}
    prompts, answers = ([name for name in names if name in held] for names in (_PROMPT_LENGTHS, _ANSWER_LENGTHS))
    found = [*prompts, *answers]
    if not found:
        return
    spots = [places.get((*section, name)) or Place("recipe", None, dotted((*section, name))) for name in found]
    pairs = zip(found, spots, strict=True)
    shown = f"{spots[0]}: " + " and ".join(f"`{place.key}: {as_written(held[name])}`" for name, place in pairs)
    lengths = [held[name] for name in found]
    if (len(prompts), len(answers)) != (1, 1) or not all(type(length) is int for length in lengths):
        raise RecipeError(
            f"{shown} cannot be translated: a row holds prompt and answer together, and an answer is never cut; write "
            "the sum of both lengths as `data.max_length`, and the longest generated answer as "
            "`generation.max_new_tokens`"
        )
    for name in found:
        held.pop(name)
        places.pop((*section, name), None)
    _put(tree, ("data", "max_length"), sum(lengths), shown)
    places[("data", "max_length")] = spots[0]
    places.setdefault(("data",), spots[0])
    say(f"{shown} is now `data.max_length: {sum(lengths)}` (prompt and answer share it, and the answer is never cut)")


def _habits(tree: Tree, known: Mapping[Keys, set[str]]) -> Iterator[tuple[Keys, str, Any, Move]]:
    for section in SECTIONS:
        for name, value in (_take(tree, section) or {}).items():
            move = _move_of(section, name)
            in_place = section == ("data",) and name == "packing" and isinstance(value, bool)
            if move is not None and (in_place or name not in known[section]):
                yield section, name, value, move


def _move_of(section: Keys, name: str) -> Move | None:
    rule = TABLE.get(name)
    if section in ((), ("training",)) and rule is not None and rule.fate == "moved":
        return Move(rule.to, rule.values, rule.note.rstrip("."))
    if section == ("data",) and name == "packing":
        return Move("data.packing", _ORDERED)
    if section in _SPREAD and name in IN_DISTRIBUTED:
        return IN_DISTRIBUTED[name]
    return OLD_NAMES.get(name)


def _take(tree: Any, path: Keys) -> Any:
    for part in path:
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree if isinstance(tree, dict) else None


def _leaf(tree: Tree, path: Keys) -> Any:
    return (_take(tree, path[:-1]) or {}).get(path[-1])


def _new_value(move: Move, value: Any, shown: str) -> Any:
    if move.values is None:
        return value
    if isinstance(value, str | bool | int) and value in move.values:
        return move.values[value]
    if move.values is _TARGETS:
        return value
    allowed = ", ".join(f"`{as_written(theirs)}`" for theirs in move.values)
    why = f"; {move.note}" if move.note else ""
    raise RecipeError(f"{shown} cannot be translated to `{move.to}`, only {allowed} can{why}")


def _put(tree: Tree, target: Keys, value: Any, shown: str) -> None:
    for part in target[:-1]:
        inner = tree.get(part)
        if inner is None:
            inner = tree[part] = {}
        if not isinstance(inner, dict):
            raise RecipeError(f"{shown} belongs in `{dotted(target)}`, but `{part}` is not a mapping")
        tree = inner
    if target[-1] in tree and tree[target[-1]] != value:
        raise RecipeError(
            f"{shown} means `{dotted(target)}`, which is `{as_written(tree[target[-1]])}` already; keep one"
        )
    tree[target[-1]] = value
