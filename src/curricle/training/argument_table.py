"""What the `training:` section does with every field of TrainingArguments and SFTConfig (transformers 5.23, TRL 1.16).

A field is **kept** (passed on, its value checked), **moved** (it has a place of its own in a recipe, and its value goes
there with a notice) or **refused** (it would do nothing here, or break a promise; the note says which). A test holds
the table against the fields of the installed classes. It imports neither library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

UNSET: Any = object()
"""No default of ours: the library's own holds."""
ALREADY: Any = object()
"""A value that asks for what Curricle does anyway; it is dropped with a notice."""

Fate = Literal["kept", "moved", "refused"]


@dataclass(frozen=True)
class Rule:
    fate: Fate
    note: str
    type: Any = None
    """Kept: what a value may be, as pydantic reads it."""
    default: Any = UNSET
    """Kept: the value that both trainers get when the recipe says nothing."""
    to: str = ""
    """Moved: the dotted key of the recipe that holds this."""
    values: Mapping[Any, Any] | None = None
    """Moved: their value -> ours; without it the value goes as it is. What is not listed is refused."""
    sft_only: bool = False


def kept(type: Any, note: str, default: Any = UNSET, sft_only: bool = False) -> Rule:
    return Rule("kept", note, type=type, default=default, sft_only=sft_only)


def moved(to: str, note: str, values: Mapping[Any, Any] | None = None) -> Rule:
    return Rule("moved", note, to=to, values=values)


def refused(note: str) -> Rule:
    return Rule("refused", note)


def _unless(words: tuple[str, ...], reason: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if any(word in value for word in words):
            raise ValueError(reason)
        return value

    return check


def _steps_or_unset(number: int) -> int:
    if number < 1 and number != -1:
        raise ValueError("it is 1 or more, or -1 for what `num_train_epochs` comes to")
    return number


Count = Annotated[int, Field(ge=1)]
Steps = Annotated[int, AfterValidator(_steps_or_unset)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Interval = Annotated[float, Field(gt=0)]
When = Literal["no", "steps", "epoch"]
Optimizer = Annotated[
    str,
    AfterValidator(
        _unless(("lomo", "layerwise"), "it updates weights during backward, before clipping and the NaN stop")
    ),
]
Schedule = Literal[
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
    "cosine_with_min_lr",
    "cosine_warmup_with_min_lr",
    "warmup_stable_decay",
]
LogLevel = Literal["debug", "info", "warning", "error", "critical", "passive"]

_LOADER = "rows come ready from a memory-mapped table, in the order of the recipe; there is no loader to tune"
_SELECTION = "set `selection.metric` (and `selection.patience`)"
_PUSH = "a run does not upload; use `curricle export --push-to-hub` on the finished one"
_METRICS = "evaluation here is the token-weighted loss and the tasks of `evaluation`, never a compute_metrics function"
_LEARN, _TURNS = "true is `every_turn`, false is `all`.", {True: "every_turn", False: "all"}
_TRACKIO = "for `report_to: trackio` only"
_MODEL = "models are chosen in `model`"

TABLE: dict[str, Rule] = {
    # length, batch, optimizer
    "output_dir": refused("the run folder follows from the recipe's name, the arm and the seed"),
    "per_device_train_batch_size": kept(
        Count, "Packed rows in a micro batch; examples when `data.packing` is none.", 8
    ),
    "num_train_epochs": kept(
        Positive, "Passes over the whole training set, turned into steps before the first one.", 3.0
    ),
    "max_steps": kept(Steps, "The number of steps; when above 0 it wins over `num_train_epochs`.", -1),
    "learning_rate": kept(NotNegative, "The peak learning rate. TRL's default for both trainers.", 2e-5),
    "lr_scheduler_type": kept(
        Schedule, "Shape of the learning rate. Schedules that wait for a metric are not offered.", "linear"
    ),
    "lr_scheduler_kwargs": kept(dict[str, Any] | None, "Further settings of the schedule."),
    "warmup_steps": kept(NotNegative, "Steps of warm-up; below 1 it is a share of all steps.", 0.0),
    "optim": kept(
        Optimizer, "Optimizer, by transformers' name; not those that update during backward.", "adamw_torch_fused"
    ),
    "optim_args": kept(str | None, "Further settings of the optimizer, as `key=value,key=value`."),
    "weight_decay": kept(NotNegative, "Weight decay, on matrices only.", 0.0),
    "adam_beta1": kept(Fraction, "Adam's first decay."),
    "adam_beta2": kept(Fraction, "Adam's second decay."),
    "adam_epsilon": kept(Positive, "Adam's epsilon."),
    "optim_target_modules": kept(str | list[str] | None, "Modules for GaLore and APOLLO optimizers."),
    "gradient_accumulation_steps": kept(Count, "Micro batches in a step.", 1),
    "average_tokens_across_devices": refused(
        "the loss is always one sum over all ranks, divided by their supervised tokens"
    ),
    "max_grad_norm": kept(NotNegative, "Gradients are clipped to this norm; 0 turns clipping off.", 1.0),
    "label_smoothing_factor": refused("the loss is cross-entropy per token; what a token weighs is set in `weighting`"),
    # precision, memory, speed
    "bf16": kept(bool, "Autocast to bfloat16. By default on a GPU that has it, off on a CPU."),
    "fp16": kept(bool, "Autocast to float16 with loss scaling; turns `bf16`'s default off.", False),
    "bf16_full_eval": refused("evaluation runs in the precision of training, so that its loss means the same"),
    "fp16_full_eval": refused("evaluation runs in the precision of training, so that its loss means the same"),
    "tf32": kept(bool | None, "TF32 matrix products on Ampere GPUs or newer."),
    "activation_checkpointing": kept(bool, "Recompute activations in backward: less memory, more time.", False),
    "activation_checkpointing_kwargs": kept(dict[str, Any] | None, "Its settings, such as {use_reentrant: false}."),
    "gradient_checkpointing": moved("training.activation_checkpointing", "its name since transformers 5.23."),
    "gradient_checkpointing_kwargs": moved(
        "training.activation_checkpointing_kwargs", "its name since transformers 5.23."
    ),
    "activation_offloading": kept(bool, "Keep activations in main memory until backward.", sft_only=True),
    "torch_compile": kept(bool, "Compile the model."),
    "torch_compile_backend": kept(str | None, "The back end of torch.compile."),
    "torch_compile_mode": kept(str | None, "The mode of torch.compile."),
    "use_liger_kernel": refused("it replaces the model's loss and would bypass ours, which is chunked itself"),
    "liger_kernel_config": refused("see use_liger_kernel"),
    "use_cache": refused("training keeps no key-value cache"),
    "neftune_noise_alpha": refused("its noise scales with the length of a row, which packing changes"),
    "torch_empty_cache_steps": kept(Count | None, "Give cached GPU memory back every so many steps."),
    "auto_find_batch_size": refused(
        "a micro batch that does not fit shrinks before the first step, at equal global batch"
    ),
    # logs
    "logging_strategy": kept(When, "When to log.", "steps"),
    "logging_steps": kept(
        Interval, "Log every so many steps; below 1 a share of all steps. `metrics.jsonl` has all.", 10
    ),
    "logging_first_step": kept(bool, "Log the first step too.", True),
    "log_on_each_node": kept(bool, "Log on every machine, not on the first only."),
    "logging_nan_inf_filter": refused("it shows a NaN loss as 0; a run stops at NaN and names the examples"),
    "include_num_input_tokens_seen": refused("`metrics.jsonl` counts tokens at every step"),
    "log_level": kept(LogLevel, "How much transformers says, on the main rank."),
    "log_level_replica": kept(LogLevel, "How much transformers says, on the other ranks."),
    "disable_tqdm": kept(bool, "No progress bar. By default a bar in terminals and notebooks."),
    "report_to": kept(
        str | list[str], "Where metrics go besides the run folder: tensorboard, wandb, mlflow and their likes.", "none"
    ),
    "run_name": kept(str, "The run's name in those. By default recipe, arm and seed."),
    "project": kept(str, _TRACKIO),
    "trackio_space_id": kept(str | None, _TRACKIO),
    "trackio_bucket_id": kept(str | None, _TRACKIO),
    "trackio_static_space_id": kept(str | Literal[False] | None, _TRACKIO),
    # evaluation while training
    "eval_strategy": kept(When, "When to compute the held-out loss. By default steps when `data.eval` is given."),
    "eval_steps": kept(Interval, "Evaluate every so many steps; below 1 a share of all steps.", 0.1),
    "eval_delay": kept(NotNegative, "No evaluation before this step."),
    "per_device_eval_batch_size": kept(Count, "Rows in an evaluation batch; the loss does not depend on it.", 8),
    "prediction_loss_only": refused(_METRICS),
    "eval_on_start": kept(bool, "Evaluate before the first step."),
    "eval_do_concat_batches": refused(_METRICS),
    "eval_use_gather_object": refused(_METRICS),
    "eval_accumulation_steps": refused(_METRICS),
    "include_for_metrics": refused(_METRICS),
    "batch_eval_metrics": refused(_METRICS),
    # checkpoints
    "save_only_model": refused("without optimizer state no exact resume; see `save_total_limit`"),
    "save_strategy": kept(When, "When to save a checkpoint; for the best one set `selection.metric`.", "steps"),
    "save_steps": kept(Interval, "Save every so many steps; below 1 a share of all steps.", 0.1),
    "save_on_each_node": kept(bool, "Save on every machine, for folders that they do not share."),
    "save_total_limit": kept(Count | None, "Keep at most so many checkpoints, the newest.", 2),
    "enable_jit_checkpoint": refused("SIGTERM always saves, exactly at a step; transformers' own save is not exact"),
    "push_to_hub": refused(_PUSH),
    "hub_token": refused(_PUSH),
    "hub_private_repo": refused(_PUSH),
    "hub_model_id": refused(_PUSH),
    "hub_strategy": refused(_PUSH),
    "hub_always_push": refused(_PUSH),
    "hub_revision": refused(_PUSH),
    "load_best_model_at_end": moved("selection.metric", "true is `loss`.", {True: "loss", False: ALREADY}),
    "metric_for_best_model": moved(
        "selection.metric",
        "`eval_loss` is `loss`.",
        {"loss": "loss", "eval_loss": "loss", "chrf": "chrf", "eval_chrf": "chrf"},
    ),
    "greater_is_better": refused(_SELECTION + "; which way is better follows from the measure"),
    "ignore_data_skip": refused("a resumed run goes on with the very next example, always"),
    "restore_callback_states_from_checkpoint": refused(
        "a checkpoint restores order, packing and random generators by itself"
    ),
    "resume_from_checkpoint": refused("a run found half done continues by itself; `--force` starts it again"),
    # seeds and order
    "full_determinism": kept(bool, "Deterministic algorithms only, where torch has them; slower."),
    "seed": moved("seed", "one seed, from which every random stream has its own."),
    "data_seed": refused("every random stream has its own seed, which follows from `seed`"),
    "train_sampling_strategy": moved(
        "data.packing",
        "`group_by_length` saves padding, which `data.packing: ordered` leaves none of; order is set in `curriculum`.",
        {"group_by_length": "ordered", "random": ALREADY},
    ),
    "shuffle_dataset": refused("order is set in `curriculum`; without one the rows are shuffled on every pass"),
    "length_column_name": refused("lengths are in the token table"),
    # machines
    "use_cpu": kept(bool, "Train on the CPU although there is a GPU."),
    "accelerator_config": refused(_LOADER),
    "parallelism_config": refused("ranks share rows (DDP), or rows and weights (`distributed.fsdp`), and nothing else"),
    "dataloader_drop_last": refused("a step is a fixed number of rows; a run's length is planned before it starts"),
    "dataloader_num_workers": refused(_LOADER + "; `data.num_workers` is for tokenizing"),
    "dataloader_pin_memory": refused(_LOADER),
    "dataloader_persistent_workers": refused(_LOADER),
    "dataloader_prefetch_factor": refused(_LOADER),
    "dataloader_multiprocessing_context": refused(_LOADER),
    "dataloader_in_order": refused(_LOADER),
    "remove_unused_columns": refused("name the columns to read in `data.fields`; others are not read"),
    "label_names": refused("labels are made and proved from the rows; see `data.learn`"),
    "ddp_find_unused_parameters": kept(bool, "Look for parameters without a gradient: slower.", False),
    "ddp_bucket_cap_mb": kept(Count | None, "Size of DDP's gradient buckets."),
    "ddp_broadcast_buffers": kept(bool | None, "Whether DDP broadcasts buffers."),
    "ddp_static_graph": kept(bool | None, "Tell DDP that the graph never changes."),
    "ddp_backend": moved("distributed.backend", "`nccl` or `gloo`.", {"nccl": "nccl", "gloo": "gloo"}),
    "ddp_timeout": kept(Count, "Seconds until a waiting rank gives up."),
    "fsdp": refused("set `distributed: {fsdp: {}}`, which is FSDP2 and checked to be on"),
    "fsdp_config": refused("set it in `distributed.fsdp`"),
    "deepspeed": refused("weights are sharded by FSDP2; set `distributed.fsdp`"),
    "local_rank": refused("torchrun says it"),
    "debug": refused("a NaN or infinite loss stops the run and names step and examples"),
    "skip_memory_metrics": refused("peak memory is always measured"),
    "do_train": refused("`curricle train` trains"),
    "do_eval": refused("set `training.eval_strategy`; `evaluation` measures the finished run"),
    "do_predict": refused("a run trains and measures; it writes no answers"),
    # SFTConfig only
    "model_init_kwargs": refused(_MODEL),
    "trust_remote_code": moved("model.trust_remote_code", "never on unless asked."),
    "router_aux_loss_coef": refused("the load-balancing loss of mixture-of-experts models is not added to ours"),
    "chat_template_path": moved("data.chat_template", "a Jinja template or a file holding one."),
    "dataset_text_field": moved("data.fields.text", "the column that holds raw text."),
    "dataset_kwargs": refused("rows are read as `data` says"),
    "dataset_num_proc": moved("data.num_workers", "processes that tokenize."),
    "eos_token": refused("the end of a turn is read from the chat template and proved; see `curricle inspect masks`"),
    "pad_token": refused("padding never reaches the loss; the tokenizer brings its own"),
    "max_length": moved("data.max_length", "the longest example, and the length of a packed row."),
    "truncation_mode": refused("a dialogue is cut in its middle, with question and target kept; see `data.on_long`"),
    "packing": moved("data.packing", "true is `ordered`.", {True: "ordered", False: "none"}),
    "packing_strategy": refused("rows are packed in curriculum order; see `data.lookahead`"),
    "padding_free": moved("data.packing", "packed rows hold no padding.", {True: "ordered"}),
    "pad_to_multiple_of": refused("packed rows hold no padding"),
    "eval_packing": refused("the held-out loss is a sum over tokens and does not depend on packing"),
    "completion_only_loss": moved("data.learn", _LEARN, _TURNS),
    "assistant_only_loss": moved("data.learn", _LEARN, _TURNS),
    "loss_type": refused("the loss is cross-entropy per token; what a token weighs is set in `weighting`"),
}
