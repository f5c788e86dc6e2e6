"""Every argument of the two trainers has a place in the table, and both trainers come out the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from transformers import TrainingArguments
from trl import SFTConfig

from curricle.errors import RecipeError
from curricle.training.argument_table import ALREADY, TABLE, UNSET
from curricle.training.arguments import Length, adapter, build_arguments, complete, problems, uses_bf16
from curricle.training.config import DistributedConfig, FsdpConfig

HF = {field.name: field for field in dataclasses.fields(TrainingArguments)}
SFT = {field.name: field for field in dataclasses.fields(SFTConfig)}
KEPT = [name for name, rule in TABLE.items() if rule.fate == "kept"]
REFUSED = [name for name, rule in TABLE.items() if rule.fate == "refused"]
MOVED = [name for name, rule in TABLE.items() if rule.fate == "moved"]


def test_the_table_is_the_fields_of_the_installed_classes() -> None:
    assert set(TABLE) == set(HF) | set(SFT)


def test_what_only_one_class_has_is_marked() -> None:
    assert [name for name in KEPT if TABLE[name].sft_only] == [name for name in KEPT if name not in HF]


@pytest.mark.parametrize("name", KEPT)
def test_the_library_default_is_a_legal_value(name: str) -> None:
    default = HF.get(name, SFT[name]).default
    if default is not None:
        adapter(name).validate_python(default)
    if TABLE[name].default is not UNSET:
        assert adapter(name).validate_python(TABLE[name].default) == TABLE[name].default


@pytest.mark.parametrize("name", [n for n in KEPT if TABLE[n].default is UNSET and n in HF and n != "bf16"])
def test_where_we_set_no_default_the_libraries_agree(name: str) -> None:
    assert HF[name].default == SFT[name].default


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_argument_says_why(name: str) -> None:
    assert dict(problems({name: None}, "hf")) == {name: f"is refused: {TABLE[name].note}"}
    assert len(TABLE[name].note) > 15


@pytest.mark.parametrize("name", MOVED)
def test_a_moved_argument_names_its_place(name: str) -> None:
    assert TABLE[name].to in dict(problems({name: True}, "trl"))[name]


@pytest.mark.parametrize(
    ("given", "trainer", "expected"),
    [
        ({"learning_rte": 1}, "hf", "did you mean `learning_rate`?"),
        ({"learning_rate": "fast"}, "hf", "valid number"),
        ({"per_device_train_batch_size": 0}, "hf", "greater than or equal to 1"),
        ({"lr_scheduler_type": "reduce_lr_on_plateau"}, "hf", "'linear', 'cosine'"),
        ({"optim": "adalomo"}, "hf", "updates weights during backward"),
        ({"save_strategy": "best"}, "hf", "'no', 'steps' or 'epoch'"),
        ({"activation_offloading": True}, "hf", "set `trainer: trl`"),
        ({"bf16": True, "fp16": True}, "hf", "choose one"),
    ],
)
def test_problems(given: dict[str, object], trainer: str, expected: str) -> None:
    [(_, message)] = problems(given, trainer)  # type: ignore[arg-type]
    assert expected in message


def test_good_values_have_no_problems() -> None:
    given = {"learning_rate": "1e-4", "eval_strategy": "no", "report_to": ["wandb", "mlflow"], "warmup_steps": 0.1}
    assert list(problems(given, "hf")) == []
    assert complete(given)["learning_rate"] == 1e-4
    assert list(problems({"activation_offloading": True}, "trl")) == []


def test_completing_twice_changes_nothing() -> None:
    once = complete({"max_steps": "7", "logging_steps": 5})
    assert complete(once) == once
    assert list(once) == [name for name in TABLE if name in once]


@pytest.mark.parametrize("training", [{}, {"learning_rate": 1e-3, "warmup_steps": 0.1, "bf16": True}])
def test_both_trainers_train_the_same_way(training: dict[str, object], tmp_path: Path) -> None:
    wanted = {"output_dir": tmp_path, "seed": 7, "evaluates": True, "length": Length(50, 10)}
    hf, sft = build_arguments(training, "hf", **wanted), build_arguments(training, "trl", **wanted)
    assert type(hf) is TrainingArguments
    assert type(sft) is SFTConfig
    assert [name for name in HF if getattr(hf, name) != getattr(sft, name)] == []
    assert hf.seed == 7
    assert not hf.logging_nan_inf_filter
    assert hf.bf16 is bool(training.get("bf16", uses_bf16({})))
    assert not sft.packing
    assert sft.max_length is None


def test_epochs_and_shares_become_steps(tmp_path: Path) -> None:
    training = {"eval_strategy": "epoch", "save_steps": 0.25, "logging_steps": 7, "save_total_limit": None}
    args = build_arguments(training, output_dir=tmp_path, evaluates=True, length=Length(45, 15))
    assert (args.max_steps, args.eval_steps, args.save_steps, args.logging_steps) == (45, 15, 12, 7)
    assert args.eval_strategy == args.save_strategy == "steps"
    assert args.save_total_limit is None
    with pytest.raises(RecipeError, match="eval_strategy: epoch"):
        build_arguments(training, output_dir=tmp_path)


def test_a_run_is_called_by_recipe_arm_and_seed(tmp_path: Path) -> None:
    folder = tmp_path / "quickstart" / "base" / "seed-3"
    assert build_arguments({}, output_dir=folder).run_name == "quickstart/base/seed-3"
    assert build_arguments({"run_name": "mine"}, output_dir=folder).run_name == "mine"


def test_mlflow_is_not_told_twice(tmp_path: Path) -> None:
    """It is told by us, so that the host must not."""
    assert "mlflow" not in build_arguments({"report_to": "all"}, output_dir=tmp_path).report_to
    assert build_arguments({"report_to": ["tensorboard"]}, output_dir=tmp_path).report_to == ["tensorboard"]
    assert build_arguments({"report_to": "none"}, output_dir=tmp_path).report_to == []


def test_evaluation_follows_the_data(tmp_path: Path) -> None:
    assert build_arguments({}, output_dir=tmp_path).eval_strategy == "no"
    assert build_arguments({}, output_dir=tmp_path, evaluates=True).eval_strategy == "steps"
    assert build_arguments({"eval_strategy": "no"}, output_dir=tmp_path, evaluates=True).eval_strategy == "no"


def test_a_refused_argument_builds_nothing(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"`training\.deepspeed` is refused: .*FSDP2"):
        build_arguments({"deepspeed": "zero3.json"}, output_dir=tmp_path)
    with pytest.raises(RecipeError, match=r"own check: .*does_not_exist"):
        build_arguments({"optim": "does_not_exist"}, output_dir=tmp_path)


def test_several_processes_asked_for_and_one_there(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="torchrun --nproc-per-node"):
        build_arguments({}, output_dir=tmp_path, distributed=DistributedConfig(enabled=True))
    assert build_arguments({}, output_dir=tmp_path, distributed=DistributedConfig()).fsdp is None


@pytest.mark.parametrize(("ranks", "accumulation"), [(1, 16), (2, 8), (4, 4), (8, 2), (16, 1)])
def test_a_step_keeps_its_rows_on_any_number_of_processes(ranks: int, accumulation: int) -> None:
    assert DistributedConfig(world_size=4).accumulation(2, 4, ranks) == accumulation
    assert DistributedConfig().accumulation(2, 4, ranks) == 4


def test_processes_that_cannot_share_a_step_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"makes a step of 32 rows .* 3 processes .* start 1, 2, 4, 8, 16, or"):
        DistributedConfig(world_size=4).accumulation(2, 4, 3)
    args = build_arguments(
        {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 3},
        output_dir=tmp_path,
        distributed=DistributedConfig(world_size=4),
    )
    assert args.gradient_accumulation_steps == 12


def test_one_process_is_enough_where_that_is_said(tmp_path: Path) -> None:
    assert DistributedConfig(fsdp=FsdpConfig()).several
    alone = DistributedConfig(enabled=False, fsdp=FsdpConfig())
    assert (alone.several, alone.sharded) == (False, None)
    assert build_arguments({}, output_dir=tmp_path, distributed=alone).fsdp is None


def test_fsdp_is_the_second_one() -> None:
    config = FsdpConfig(layers=["LlamaDecoderLayer"]).arguments()["fsdp_config"]
    assert (config["version"], config["transformer_layer_cls_to_wrap"]) == (2, ["LlamaDecoderLayer"])
    assert "transformer_layer_cls_to_wrap" not in FsdpConfig().arguments()["fsdp_config"]
    assert config["state_dict_type"] == "SHARDED_STATE_DICT"
    assert "activation_checkpointing" not in config
    assert FsdpConfig().arguments(True)["fsdp_config"]["activation_checkpointing"]


def test_dropped_values_are_what_happens_anyway() -> None:
    """A value that is dropped with a notice must never be one that would have changed something."""
    dropped = {name: [v for v, ours in (rule.values or {}).items() if ours is ALREADY] for name, rule in TABLE.items()}
    assert {name: values for name, values in dropped.items() if values} == {
        "load_best_model_at_end": [False],
        "train_sampling_strategy": ["random"],
    }
