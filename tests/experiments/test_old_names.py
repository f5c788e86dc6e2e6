"""Names from elsewhere land where they belong, aloud; nothing is guessed and nothing is overruled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from curricle.errors import RecipeError
from curricle.experiments.document import parse
from curricle.experiments.keys import all_keys
from curricle.experiments.old_names import OLD_NAMES, SECTIONS
from curricle.experiments.recipe import Recipe, Settings
from curricle.experiments.resolve import resolve
from curricle.training.argument_table import ALREADY, TABLE


def base(changes: str) -> Settings:
    return resolve(
        parse("model: {name_or_path: nano:llama}\ndata: {train: a, eval: b}\n", "r")[0] | parse(changes, "r")[0]
    ).base


def value_at(settings: Settings, dotted: str) -> Any:
    value: Any = settings.model_dump()
    for part in dotted.split("."):
        value = value[part]
    return value


@pytest.mark.parametrize(
    ("written", "key", "value"),
    [
        ("training: {warmup_ratio: 0.03}", "training.warmup_steps", 0.03),
        ("warmup_ratio: 0.03", "training.warmup_steps", 0.03),
        ("training: {group_by_length: true}", "data.packing", "ordered"),
        ("training: {group_by_length: false}", "data.packing", "ordered"),
        ("training: {train_sampling_strategy: group_by_length}", "data.packing", "ordered"),
        ("max_seq_length: 77", "data.max_length", 77),
        ("data: {train: a, encoder_max_len: 1024, decoder_max_len: 200}", "data.max_length", 1224),
        ("training: {max_source_length: 70, max_target_length: 7}", "data.max_length", 77),
        ("training: {max_seq_length: 77}", "data.max_length", 77),
        ("training: {max_length: 77}", "data.max_length", 77),
        ("cutoff_len: 77", "data.max_length", 77),
        ("sequence_len: 77", "data.max_length", 77),
        ("packing: false", "data.packing", "none"),
        ("sample_packing: true", "data.packing", "ordered"),
        ("training: {packing: false}", "data.packing", "none"),
        ("micro_batch_size: 3", "training.per_device_train_batch_size", 3),
        ("training: {gradient_checkpointing: true}", "training.activation_checkpointing", True),
        ("lora_rank: 4", "model.adapter.lora_r", 4),
        ("lora_r: 4", "model.adapter.lora_r", 4),
        ("lora_target: all", "model.adapter.lora_target_modules", "all-linear"),
        ("lora_target: [q_proj]", "model.adapter.lora_target_modules", ["q_proj"]),
        ("train_on_inputs: true", "data.learn", "all"),
        ("mask_history: true", "data.learn", "last_turn"),
        ("training: {assistant_only_loss: true}", "data.learn", "every_turn"),
        ("training: {completion_only_loss: false}", "data.learn", "all"),
        ("training: {load_best_model_at_end: true, metric_for_best_model: eval_loss}", "selection.metric", "loss"),
        ("training: {dataset_text_field: body}", "data.fields.text", "body"),
        ("training: {ddp_backend: gloo}", "distributed.backend", "gloo"),
        ("distributed: {data: {batch_size_per_gpu: 2}}", "training.per_device_train_batch_size", 2),
        ("distributed: {data: {gradient_accumulation_steps: 4}}", "training.gradient_accumulation_steps", 4),
        ("distributed: {fsdp: {sharding_strategy: FULL_SHARD}}", "distributed.fsdp.reshard_after_forward", True),
        ("distributed: {fsdp: {sharding_strategy: SHARD_GRAD_OP}}", "distributed.fsdp.reshard_after_forward", False),
        ("distributed: {fsdp: {mixed_precision: bf16}}", "training.bf16", True),
        ("distributed: {fsdp: {activation_checkpointing: true}}", "training.activation_checkpointing", True),
        ("training: {gradient_clipping: 0.5}", "training.max_grad_norm", 0.5),
        ("trust_remote_code: false", "model.trust_remote_code", False),
        ("tokenizer: nano:llama", "model.name_or_path", "nano:llama"),
        ("processing_class: nano:llama", "model.name_or_path", "nano:llama"),
    ],
)
def test_translated_with_a_notice(written: str, key: str, value: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert value_at(base(written), key) == value
    notice = capsys.readouterr().err
    assert notice.count("\n") == notice.count("recipe: `") >= 1
    assert f"is now `{key}: " in notice or "asks for what happens anyway" in notice


@pytest.mark.parametrize(
    ("text", "notice"),
    [
        ("data:\n  packing: true", "r.yaml:3: `data.packing: true` is now `data.packing: ordered`"),
        ("model:\n  lora_rank: 4", "r.yaml:3: `model.lora_rank: 4` is now `model.adapter.lora_r: 4`"),
        (
            "model:\n  adapter:\n    lora_rank: 4",
            "r.yaml:4: `model.adapter.lora_rank: 4` is now `model.adapter.lora_r: 4`",
        ),
        (
            "arms:\n  one:\n    training:\n      warmup_ratio: 0.5",
            "r.yaml:5: `arms.one.training.warmup_ratio: 0.5` is now `training.warmup_steps: 0.5`",
        ),
    ],
)
def test_in_every_section_with_its_line(
    text: str, notice: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "base.yaml").write_text("model: {name_or_path: x}\ndata: {train: a}\n", encoding="utf-8")
    (tmp_path / "r.yaml").write_text(f"extends: base.yaml\n{text}\n", encoding="utf-8")
    experiment = resolve(tmp_path / "r.yaml")
    assert notice in capsys.readouterr().err
    for arm in experiment.arms.values():
        adapter = arm.settings.model.adapter
        assert (adapter is not None and adapter.lora_r == 4) == ("lora_rank" in text)
        assert (arm.settings.training["warmup_steps"] == 0.5) == ("warmup_ratio" in text)


def test_the_seed_of_training_is_the_seed() -> None:
    tree = {"model": {"name_or_path": "x"}, "data": {"train": "a"}, "training": {"seed": 3}}
    assert resolve(tree).seeds == (3,)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (
            "cutoff_len: 99\ndata: {train: a, max_length: 100}",
            "means `data.max_length`, which is `100` already; keep one",
        ),
        ("packing: sometimes", "cannot be translated to `data.packing`, only `true`, `false` can"),
        ("training: {train_sampling_strategy: sequential}", "order is set in `curriculum`"),
        ("decoder_max_len: 200", "`decoder_max_len: 200` cannot be translated: a row holds prompt and answer together"),
        (
            "training: {encoder_max_len: 1024, decoder_max_len: no}",
            "write the sum of both lengths as `data.max_length`",
        ),
        ("tokenizer: another", "is not `model.name_or_path: nano:llama`"),
        ("warmup_ratio: high", "`warmup_ratio` is 'high'; input should be a valid number"),
        ("data: {train: a, prefetch_factor: 2}", "`data.prefetch_factor` is refused: rows come ready"),
        ("distributed: {data: {num_workers: 4}}", "`data.num_workers` is for tokenizing"),
        ("distributed: {fsdp: {sharding_strategy: HYBRID_SHARD}}", "only `FULL_SHARD`, `SHARD_GRAD_OP` can"),
        ("lora_rank: 4\nmodel: nano", "belongs in `model.adapter.lora_r`, but `model` is not a mapping"),
    ],
)
def test_what_cannot_be_translated(written: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        base(written)
    assert message in str(caught.value)


def test_the_same_value_twice_is_no_conflict() -> None:
    assert base("cutoff_len: 99\ndata: {train: a, max_length: 99}").data.max_length == 99


def test_translations_lead_to_keys_that_exist() -> None:
    keys = {key.replace("[]", "") for key in all_keys(Recipe)}
    targets = {move.to for move in OLD_NAMES.values()} | {rule.to for rule in TABLE.values() if rule.fate == "moved"}
    assert targets - keys == {"data.fields.text"}, "a mapping of free keys"


def test_no_old_name_shadows_a_key() -> None:
    """At the top, an old name must be nobody's new name."""
    assert set(OLD_NAMES) & set(Recipe.model_fields) == set()
    assert set(OLD_NAMES) & {name for name, rule in TABLE.items() if rule.fate != "moved"} == set()
    assert () in SECTIONS


def test_what_is_dropped_changes_nothing() -> None:
    dropped = {
        name: [v for v, ours in (move.values or {}).items() if ours is ALREADY] for name, move in OLD_NAMES.items()
    }
    asked = {name: values for name, values in dropped.items() if values}
    assert asked == {n: [False] for n in ("group_by_length", "train_on_inputs", "train_on_prompt", "mask_history")}
    plain = base("{}")
    for name, values in asked.items():
        assert base(f"{name}: {str(values[0]).lower()}") == plain
