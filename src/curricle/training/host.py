"""The seams between our mixin and its host: handing over token tables, and what the host still does itself."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from ..data.table import TokenTable
from ..errors import RecipeError, TrainingError
from ..runtime.ranks import part_at_exit, rank, world_size
from ..runtime.seeds import derive_seed
from .monitors import Monitor


def take_tables(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, TokenTable]:
    """Replace our token tables in a trainer's arguments by one-row stand-ins for the host's constructor to look at."""
    if any(isinstance(given, TokenTable) for given in args):
        raise RecipeError("give a TokenTable by name: train_dataset=..., eval_dataset=...")
    names = ("train_dataset", "eval_dataset")
    tables = {name: kwargs[name] for name in names if isinstance(kwargs.get(name), TokenTable)}
    if tables:
        from datasets import Dataset

        stand_in = Dataset.from_dict({"input_ids": [[0, 0]], "labels": [[-100, 0]]})
        kwargs |= dict.fromkeys(tables, stand_in)
    return tables


def adopt_tables(trainer: Trainer, tables: dict[str, TokenTable]) -> tuple[TokenTable, Any]:
    """The tables to work on: those that were given, or the host's tokenized data turned into tables."""
    if "train_dataset" in tables:
        train = tables["train_dataset"]
    else:
        train = _table_of(trainer.train_dataset, "train_dataset")
    if "eval_dataset" in tables or trainer.eval_dataset is None:
        return train, tables.get("eval_dataset")
    return train, _table_of(trainer.eval_dataset, "eval_dataset")


def _table_of(dataset: Any, name: str) -> TokenTable:
    columns = getattr(dataset, "column_names", None) or []
    if "seq_lengths" in columns:
        raise RecipeError(f"{name} is already packed by the host; set packing=False there and rows=Rows() here")
    if "input_ids" not in columns:
        raise RecipeError(
            f"{name} has columns {columns}, but an order or rows needs tokenized data: input_ids with labels "
            "(-100 where nothing is learned), or a TokenTable"
        )
    return TokenTable.from_rows(dataset)


def refuse_unused(kwargs: dict[str, Any]) -> None:
    """Arguments of the host that would do nothing on our rows."""
    for name, instead in (
        ("data_collator", "our rows are collated by us; leave it out"),
        ("compute_metrics", "it needs every logit; use eval_extras, a function of the model"),
        ("preprocess_logits_for_metrics", "it needs every logit; use eval_extras, a function of the model"),
    ):
        if kwargs.get(name) is not None:
            raise RecipeError(f"{name} does nothing with an order, rows or a TokenTable: {instead}")


def by_steps(args: Any, steps_per_epoch: int) -> None:
    """To the host a run of ours is one long epoch, so what it would do at each epoch's end is done by steps."""
    for what in ("eval", "save", "logging"):
        if getattr(getattr(args, f"{what}_strategy"), "value", "no") == "epoch":
            setattr(args, f"{what}_strategy", IntervalStrategy.STEPS if what != "save" else SaveStrategy.STEPS)
            setattr(args, f"{what}_steps", steps_per_epoch)


def must_delegate(trainer: Trainer, dialled: bool) -> bool:
    """Whether the loss has to stay the host's own because a setting of the host changes it."""
    args = trainer.args
    config = getattr(trainer.model, "config", None)
    dialled = dialled or getattr(config, "num_future_tokens", 1) > 1
    reasons = [
        reason
        for asked, reason in (
            (getattr(trainer, "compute_loss_func", None) is not None, "compute_loss_func"),
            (args.label_smoothing_factor, "label_smoothing_factor"),
            (getattr(args, "loss_type", "nll") not in (None, "nll", "chunked_nll"), "loss_type"),
            (getattr(config, "output_router_logits", False), "the router's auxiliary loss (output_router_logits)"),
            (args.use_liger_kernel, "use_liger_kernel"),
            (trainer.get_sp_size() > 1 or trainer.get_cp_size() > 1, "sequence or context parallelism"),
            (args.n_gpu > 1, "nn.DataParallel (several GPUs in one process; start with torchrun)"),
            (not args.average_tokens_across_devices, "average_tokens_across_devices=False"),
        )
        if asked
    ]
    if reasons and dialled:
        raise RecipeError(
            f"{', '.join(reasons)} changes the loss and does not go with order, rows, weighting, depth or several heads"
        )
    return bool(reasons)


def prepare_arguments(args: Any, accelerator: Any) -> None:
    """Settings of the host that our rows need, where the user left them open."""
    # The host would ask DDP to search for unused parameters: there are none, and a value head would be called one. The
    # accelerator has been told already, so it is told anew.
    if args.ddp_find_unused_parameters is None:
        args.ddp_find_unused_parameters = False
        if accelerator.ddp_handler is not None:
            accelerator.ddp_handler.find_unused_parameters = False
    # The filter would log a loss of 0 in place of NaN and train on; we stop instead.
    args.logging_nan_inf_filter = False


def quiet_progress(trainer: Trainer) -> None:
    """The host prints to standard output, which is kept for results; our own ticker speaks instead."""
    for theirs in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(theirs)


def _is_share(weight: torch.Tensor) -> bool:
    from torch.distributed.tensor import DTensor

    return isinstance(weight, DTensor)


class Stepping(Protocol):
    """What the callback below needs of a trainer."""

    monitor: Monitor
    model_wrapped: Any

    def end_step(self, control: Any) -> None: ...


class StepEnd(TrainerCallback):
    """Runs after every other callback of the step, so that a request to stop is the last word."""

    def __init__(self, trainer: Stepping) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        wrapped = type(self.trainer.model_wrapped).__name__
        # What FSDP2 has taken apart is made of DTensors; a tensor that is not would be whole on every rank.
        whole = [name for name, weight in self.trainer.model_wrapped.named_parameters() if not _is_share(weight)]
        if args.fsdp and ("FSDP" not in wrapped or (whole and int(args.fsdp_config.get("version", 2)) == 2)):
            raise TrainingError(
                f"fsdp was asked for, but the model came back as {wrapped}; accelerate falls back to DDP on a CPU. "
                "Run on accelerators, or leave distributed.fsdp out"
            )
        if world_size() > 1:
            part_at_exit()  # the host, too, may have made the group
            # Ranks drop different units; the host seeds them all alike. A resume loads each rank's own state later.
            torch.manual_seed(derive_seed(args.seed, "dropout", rank()))
        self.trainer.monitor.restart_clock()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        self.trainer.end_step(control)
        return control

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.monitor.restart_clock()
