"""The trainer's additions: which rows come, what each token weighs, which layers learn, and exact resume.

`CurricleMixin` goes in front of `transformers.Trainer` or `trl.SFTTrainer` and overrides methods only; nothing of
either library is replaced. Two ways of working:

- **our rows**: the training set is a `TokenTable`, or an order or `rows` was given. We draw, pack, collate and
  evaluate, and a checkpoint holds the state of the draw. The host's loader is not built.
- **the host's rows**: none of that was given. The host's loader, evaluation and resume are untouched; only the
  training loss is computed our way, which gives the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils.data import DataLoader

from ..curriculum.layers import Depth
from ..curriculum.order import Order
from ..data.rows import Rows
from ..data.table import TokenTable
from ..errors import Interrupted, RecipeError, RunError, TrainingError
from ..losses.reduction import count_supervised, reduce_loss
from ..models.attention import for_model
from ..models.head import HeadTap, Supervised, supervised_losses, verify_head
from ..models.probe import verify_packing
from ..runtime.progress import say
from ..runtime.ranks import world_size
from ..weighting.base import Uniform, Weighting
from . import checkpoints, host
from .batches import OrderedBatches, as_loader, plan_steps
from .books import StepBooks, num_tokens
from .columns import OF_VALUES, RowColumns
from .critic import Critic, unread_head
from .critic_config import CriticConfig
from .depth import LayerDial
from .fit import fit_batch
from .frozen import frozen
from .heads import StepHeads, head_losses
from .heldout import heldout_metrics
from .liveness import Liveness
from .monitors import Monitor
from .patience import Patience
from .rows import identity
from .sharded import AnyRanks
from .signals import StopRequest
from .ticker import Ticker

MANY_DOMAINS = 20
"""With more, the loss of each goes to `heldout.jsonl` only, not to every tracker."""


class CurricleMixin(AnyRanks):
    """Adds the dials to a Trainer. `order` and `rows` need our rows; `weighting` and `depth` work on both.

    >>> class Mine(CurricleMixin, transformers.Trainer): ...          # doctest: +SKIP
    >>> Mine(model, args, train_dataset=table, rows=Rows(max_length=1024), order=Order())   # doctest: +SKIP
    """

    # transformers' own switch: the loss below is already divided by the global count
    loss_is_scaled_for_ga: Any = True
    model: Any
    train_dataset: Any
    eval_dataset: Any
    tap: HeadTap
    columns: RowColumns
    heads: StepHeads
    batches: OrderedBatches
    left: set[str]
    """The names of what this run leaves as it is."""

    def __init__(
        self,
        *args: Any,
        order: Order | None = None,
        rows: Rows | None = None,
        weighting: Weighting | None = None,
        reference_losses: npt.NDArray[np.float32] | None = None,
        depth: Depth | None = None,
        critic: CriticConfig | None = None,
        eval_extras: Callable[[nn.Module], dict[str, float]] | None = None,
        patience: Patience | None = None,
        **kwargs: Any,
    ) -> None:
        tables = host.take_tables(args, kwargs)
        super().__init__(*args, **kwargs)
        self.our_rows = bool(tables) or order is not None or rows is not None
        self.weighting = weighting or Uniform()
        if self.weighting.needs and not self.our_rows:
            raise RecipeError(f"weighting {self.weighting.name} goes by what rows bring: give rows=Rows()")
        self.depth = depth or Depth()
        if critic is not None and not self.our_rows:
            raise RecipeError("a critic goes by the rewards of rows: give a TokenTable that has them")
        if critic is not None and self.args.ddp_find_unused_parameters:
            raise RecipeError("ddp_find_unused_parameters would take a critic's head for unused; leave it out")
        self.delegates = host.must_delegate(self, dialled=self.our_rows or weighting is not None or depth is not None)
        self.stop_request = StopRequest()
        self.eval_extras = eval_extras
        self.monitor = Monitor(None, 0.0)
        self.books = StepBooks()
        self._closed_step, self._stopped, self._verified = -1, False, False
        self._step_row: dict[str, Any] = {}
        self._examples: list[int] = []
        if self.delegates:
            self.loss_is_scaled_for_ga = None
        bare = self.accelerator.unwrap_model(self.model)
        self.left = set() if critic is not None else unread_head(bare)
        self.liveness = Liveness()
        if not self.delegates:
            self._tap_heads(bare, first_only=critic is not None and critic.pretrains)
        if self.depth.gates_documents and not self.our_rows:
            raise RecipeError(
                f"`{type(self.depth).__name__}` gates documents by their place in a table: give rows=Rows()"
            )
        if self.our_rows:
            host.refuse_unused(kwargs)
            host.prepare_arguments(self.args, self.accelerator)
            host.quiet_progress(self)
            self.train_dataset, self.eval_dataset = host.adopt_tables(self, tables)
        self.critic = None if critic is None else Critic(bare, critic, self.train_dataset)
        self.left |= self.critic.left if self.critic else set()
        with frozen(bare, self.left):
            self.layers = LayerDial(bare, self.depth)
        if self.our_rows:
            self.columns = RowColumns(self.train_dataset, reference_losses)
            self.order, self.rows = order or Order(), rows or Rows(pad_id=self.pad_id)
            self._isolate_documents()
            self.patience = patience
            if patience is not None:
                self.add_callback(patience)
            self.add_callback(host.StepEnd(self))

    def _tap_heads(self, bare: nn.Module, first_only: bool) -> None:
        """Which output heads are measured, and which learn; where no token is learned, one is enough to log."""
        self.tap = HeadTap(bare)
        if len(self.tap.coefficients) == 1 and self.weighting.later_heads != 1:
            raise RecipeError("weighting.later_heads is set, but the model has one head; give it more (model.mtp)")
        self.heads = StepHeads(self.tap.coefficients[: 1 if first_only else None], self.weighting.later_heads)
        self.left |= self.heads.left_alone(bare)
        self.liveness = Liveness(["extra_heads."] if self.heads.later != 1 else [])
        self.weighting.num_heads = len(self.heads.coefficients)

    def _isolate_documents(self) -> None:
        """A model whose packed documents see each other gets a dense mask, or is refused, however it was loaded."""
        if self.rows.packing != "ordered":
            return
        model = self.accelerator.unwrap_model(self.model)
        loaded = model.config._attn_implementation
        with self.accelerator.autocast():
            choice = verify_packing(model)
        if choice.name != loaded:
            say(str(choice))

    # ---- rows -------------------------------------------------------------------------------------------------------

    def get_train_dataloader(self) -> DataLoader[Any]:
        return as_loader(self.batches) if self.our_rows else super().get_train_dataloader()

    def set_initial_training_values(self, args: Any, dataloader: DataLoader[Any]) -> tuple[Any, ...]:
        """One endless epoch for the host: passes over the data are the stream's business."""
        if not self.our_rows:
            return super().set_initial_training_values(args, dataloader)
        steps, micros = args.max_steps, args.max_steps * args.gradient_accumulation_steps
        rows = self.batches.rows_per_step
        return 1, steps, len(self.train_dataset), steps * rows, rows, micros, steps

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Any]], device: torch.device) -> Any:
        if self.delegates:
            return super()._get_num_items_in_batch(batch_samples, device)
        return self.heads.count(batch_samples, device, self._progress())

    # ---- one micro batch --------------------------------------------------------------------------------------------

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        self._examples = inputs.pop("example_ids", [])
        return super().training_step(model, inputs, num_items_in_batch)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Sum of weighted losses over the step's global count of supervised tokens (DDP and FSDP then average over
        ranks, so the sum is multiplied by their number first)."""
        if self.delegates or return_outputs or not model.training:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if not self.our_rows and not self._verified:
            self._verify_host_batch(inputs)
        self.layers.admit(self._progress(), self._examples, inputs)
        self.weighting.step = self.state.global_step
        result = self.losses_of(model, inputs, self._examples)
        if self.our_rows:
            self.books.add(self._examples, num_tokens(inputs), result.loss_n, result.tokens.doc_n)
            self.books.add_metrics(result.metrics | head_losses(result), result.loss_n.numel())
            self.batches.consumed()
        items = result.loss_n.numel() if num_items_in_batch is None else num_items_in_batch
        return reduce_loss(result.loss_sum, items, world_size=self.accelerator.num_processes)

    def losses_of(self, model: nn.Module, inputs: dict[str, Any], examples: list[int]) -> Any:
        """The flat table of supervised tokens of one batch: losses, weights and their weighted sum."""
        inputs = dict(inputs)
        labels = inputs.pop("labels")
        with for_model(inputs) as model_inputs:

            def measure(weighting: Weighting) -> Supervised:
                seen = self.columns.seen_by(weighting, examples) if self.our_rows else weighting
                return supervised_losses(model, model_inputs, labels, self.tap, seen, scales=self.heads.scales)

            critic = self.critic
            result = measure(self.weighting) if critic is None else critic.losses(measure, labels, self.weighting)
        if torch.is_grad_enabled() and not result.loss_sum.requires_grad:
            raise TrainingError("the loss depends on nothing that learns; are the adapter's layers read past it?")
        return result

    # ---- one step ---------------------------------------------------------------------------------------------------

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        self._close_books()
        return super()._clip_grad_norm(model)

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        self._close_books()
        grad_norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        if self.our_rows:
            self._step_row["grad_norm"] = norm = float(grad_norm)
            # With a loss scaler an infinite norm is its business: it skips the step and lowers the scale.
            if not math.isfinite(norm) and self.accelerator.scaler is None:
                raise self._not_finite("gradient norm", norm)
        return grad_norm

    def _close_books(self) -> None:
        """Once a step, before clipping: reduce its sums, stop on a loss that is no number, void closed layers."""
        step = self.state.global_step
        if self._closed_step == step:
            return
        self._closed_step = step
        layers = self.layers.close(self._progress(), self.args.device)
        self._look_for_gradients(layers)
        if self.our_rows:
            self._step_row = {"step": step + 1, "learning_rate": self._get_learning_rate()}
            self._step_row |= self.books.close(stop_asked=self.stop_request.asked is not None) | layers
            if self._logs(step + 1):
                scaler = self.accelerator.scaler
                self._step_row |= self.layers.grad_norms(scaler.get_scale() if scaler is not None else 1.0)
            if not math.isfinite(self._step_row["loss"]):
                raise self._not_finite("loss", self._step_row["loss"])

    def _look_for_gradients(self, layers: dict[str, Any]) -> None:
        if not self.liveness.done:
            blocks = self.layers.blocks
            closed = [
                blocks[layer] for layer in {*range(len(blocks))} - {*layers.get("open_layers", range(len(blocks)))}
            ]
            self.liveness.look(self.accelerator.unwrap_model(self.model), closed, moves=self._get_learning_rate() > 0)

    def _progress(self) -> float:
        return self.state.global_step / max(1, self.state.max_steps)

    def _logs(self, step: int) -> bool:
        """Whether what is dearer to measure is measured in this step, counted from 1."""
        return step in (1, self.state.max_steps) or step % max(1, int(self.args.logging_steps)) == 0

    def end_step(self, control: Any) -> None:
        """After the optimizer step: the order learns what happened, the row is written, a request to stop is obeyed."""
        row, books, step = self._step_row, self.books, self.state.global_step
        self.books = self._new_books()
        if self.order.observes:
            self.order.observe(step, *books.losses_by_example())
        progress = self.batches.progress() | {"planned_steps": self.state.max_steps}
        self.state.epoch = progress["epoch"]
        stop = row.pop("stop")
        if self._logs(step):
            row |= self.layers.moved()
        if self.critic is not None:
            self.critic.end_step(row, progress["epoch"])
        self.ticker.step(self.monitor.step(row | progress, self.batches.rows_of_step(step)))
        if stop:
            control.should_save = control.should_training_stop = self._stopped = True

    def _not_finite(self, what: str, value: float) -> TrainingError:
        ids = [str(self.train_dataset.ids[i]) for i in dict.fromkeys(self.books.examples)]
        shown = ", ".join(ids[:8]) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")
        good = checkpoints.newest_whole(self.folder)
        return TrainingError(
            f"step {self.state.global_step + 1}: the {what} is {value}, and no weight has moved. Examples: {shown}. "
            f"Last good checkpoint: {good or 'none'}. Try a lower learning_rate, a longer warm-up, or bf16, not fp16"
        )

    # ---- checkpoints ------------------------------------------------------------------------------------------------

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """As the host's; on our rows, `True` takes the newest whole checkpoint (none: from the start), and a request
        to stop raises `Interrupted` once the checkpoint is written."""
        with frozen(self.accelerator.unwrap_model(self.model), self.left):
            train = self._train if self.our_rows else super().train
            return train(resume_from_checkpoint, *args, **kwargs)

    def _train(self, resume_from_checkpoint: str | bool | None, *args: Any, **kwargs: Any) -> Any:
        self._begin()
        start = checkpoints.newest_whole(self.folder) if resume_from_checkpoint is True else resume_from_checkpoint
        if start:
            self._load_our_state(Path(str(start)))
            self.load_before_sharding(start)
            self.args.eval_on_start = False  # the unbroken run has done that
        else:
            self.monitor.start_over()
        self.args.ignore_data_skip = True  # our stream stands where the checkpoint left it; skipping would skip twice
        self.ticker = Ticker(self.args.max_steps, int(self.args.logging_steps), bar=not self.args.disable_tqdm)
        try:
            with self.stop_request:
                result = super().train(str(start) if start else None, *args, **kwargs)
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                f"step {self.state.global_step + 1}: out of memory, though the longest rows fitted before the "
                "first step; is something else using the device? Lower training.per_device_train_batch_size"
            ) from error
        finally:
            self.monitor.close()
            self.ticker.close()
        if self._interrupted:
            raise Interrupted(
                f"stopped by {self.stop_request.asked or 'another rank'} after step {self.state.global_step} of "
                f"{self.args.max_steps}; the checkpoint is saved. Run the same command again to go on from it"
            )
        return result

    @property
    def _interrupted(self) -> bool:
        return self.our_rows and self._stopped and self.state.global_step < self.args.max_steps

    def _finalize_training(self, *args: Any, **kwargs: Any) -> Any:
        if self._interrupted:
            # The host would load the best checkpoint and, where one is kept, remove the one just saved to go on from.
            self.state.best_model_checkpoint = None
        return super()._finalize_training(*args, **kwargs)

    def _verify(self) -> None:
        """Two short examples through the model's own loss and through ours; training does not begin if they differ."""
        table = self.train_dataset
        learned = np.flatnonzero(table.num_supervised)
        shortest = learned[np.argsort(table.lengths[learned], kind="stable")[:2]].tolist()
        batch = self.rows.collate(table, [[i] for i in shortest])
        batch.pop("example_ids")
        self._compare(batch)
        if self.critic is not None:
            self.critic.begin(self.model, batch)

    def _verify_host_batch(self, inputs: dict[str, Any]) -> None:
        """The same on the host's rows: the first row of its first batch."""
        self._verified = True
        size = inputs["labels"].shape[0]
        first = {k: v[:1] if isinstance(v, torch.Tensor) and v.shape[:1] == (size,) else v for k, v in inputs.items()}
        self._compare(first if size > 1 else dict(inputs))

    def _compare(self, batch: dict[str, Any]) -> None:
        device = next(self.model.parameters()).device  # FSDP's model is not on its accelerator yet
        batch = {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}
        labels = batch.pop("labels")
        if int(count_supervised(labels)):
            with for_model(batch) as inputs:
                verify_head(self.model, inputs, labels, self.tap)

    @property
    def folder(self) -> Path:
        return Path(self.args.output_dir or "trainer_output")

    @property
    def pad_id(self) -> int:
        return getattr(self.processing_class, "pad_token_id", None) or 0

    def _begin(self) -> None:
        """The batches, the books and the run's length, from the arguments as they are now."""
        args, table = self.args, self.train_dataset
        plan = plan_steps(table, self.rows, args, args.num_train_epochs)
        if args.max_steps <= 0:
            args.max_steps = plan.steps
        host.by_steps(args, plan.steps_per_epoch)
        self._verify()
        self.columns.check(self.weighting, others=OF_VALUES if self.critic else frozenset())
        self.weighting.step = -1
        fit_batch(self)
        self.batches = OrderedBatches(table, self.order, self.rows, args)
        self.monitor = Monitor(self.folder, args.max_grad_norm)
        self.books, self._closed_step, self._stopped = self._new_books(), -1, False
        self.stop_request.asked = None
        self._identity = identity(table, self.columns.reference_t)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        with checkpoints.whole_or_removed(Path(self.args.output_dir or ".") / f"checkpoint-{self.state.global_step}"):
            super()._save_checkpoint(model, trial)

    def _save_rng_state(self, output_dir: str) -> None:
        """After model and optimizer, before the file that makes a checkpoint whole: the place for our state."""
        super()._save_rng_state(output_dir)
        if self.our_rows:
            state = {
                "step": self.state.global_step,
                "world_size": world_size(),
                "table": self._identity,
                "batches": self.batches.state_dict(),
                "weighting": self.weighting.state_dict(),
                "depth": self.depth.state_dict(),
                "critic": self.critic.state_dict() if self.critic else None,
                "monitor": self.monitor.state_dict(),
                "patience": self.patience.state_dict() if self.patience else None,
            }
            checkpoints.save_state(output_dir, state)

    def _load_our_state(self, folder: Path) -> None:
        state = checkpoints.load_state(folder)
        if state["table"] != self._identity:
            raise RunError(
                f"{folder} was trained on other rows than these ({state['table']}, now {self._identity}); "
                "restore the data and its settings, or start under another name"
            )
        if (state["critic"] is None) != (self.critic is None):
            wrote, now = ("without", "with") if state["critic"] is None else ("with", "without")
            raise RunError(
                f"{folder} was written {wrote} a critic, and this run is {now} one; give it the same `critic:`, or "
                "start under another name"
            )
        say(f"going on from {folder.name}")
        self.batches.load_state_dict(state["batches"])
        self.weighting.load_state_dict(state["weighting"])
        self.depth.load_state_dict(state["depth"])
        if self.critic is not None:
            self.critic.load_state_dict(state["critic"])
        self.monitor.load_state_dict(state["monitor"], step=state["step"])
        if self.patience and state["patience"]:
            self.patience.load_state_dict(state["patience"])
            if self.patience.spent:  # this run has stopped early: it was cut off after its last step
                self.args.max_steps = state["step"]

    # ---- evaluation and logs ----------------------------------------------------------------------------------------

    def evaluate(self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval") -> Any:
        table = eval_dataset if eval_dataset is not None else self.eval_dataset
        if not isinstance(table, TokenTable):
            return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        measured = heldout_metrics(self.model, table, self.rows, self.tap, self.args.per_device_eval_batch_size)
        if self.critic is not None:
            measured |= self.critic.measured(self.model, table, self.rows, self.args.per_device_eval_batch_size)
        if self.eval_extras is not None:
            measured |= self.eval_extras(self.model)
        by_domain = measured.pop("domain_loss")
        self.monitor.measured(self.state.global_step, metric_key_prefix, measured, by_domain)
        if len(by_domain) <= MANY_DOMAINS:
            measured |= {f"loss_{name}": value for name, value in by_domain.items()}
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in measured.items()}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        self.monitor.restart_clock()
        return metrics

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        if self.our_rows and "loss" in logs:
            logs |= self.monitor.brief()
        super().log(logs, *args, **kwargs)

    def _new_books(self) -> StepBooks:
        return StepBooks(self.train_dataset.domains, self.train_dataset.domain_names)
