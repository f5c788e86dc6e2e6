"""Losses at the output head, inside the model's own forward, so that wrappers (PEFT, DDP, FSDP2, autocast) hold.

    trunk -> hidden states at the kept positions [N, H] -> output head -> logits [N, V] -> (cap, scale) -> loss

`logits_to_keep` with a mask takes hidden states only where the next token is learned. From there, two paths:

tap      hooks on the head: the one before it takes the hidden states and hands the head none of them, the one after it
         makes the losses from them and the head's weight, without full logits. The model returns empty logits, which
         keep every parameter in the graph.
logits   the model makes its [N, V] logits and cross-entropy is taken from them. Right for any head.

Which token comes first (`supervised_choices`) is read off on the same two paths.

`head_plan` says which one is right for a model.

Suffixes: bt batch x time, n supervised tokens, h hidden, v vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ModelError
from ..losses.choices import first_choices
from ..losses.flat import FlatTokens, Weigh, flatten, keep_mask
from ..losses.reference import logit_losses
from ..losses.token_losses import token_losses, weighted_loss
from .head_plan import HeadPlan, accepts, base_model, matrix_of, plan_head


@dataclass(frozen=True)
class Supervised:
    """What one micro batch gave."""

    loss_sum: Tensor
    """sum(weight * loss), to be differentiated; zero but connected to the graph where nothing is supervised."""
    tokens: FlatTokens
    """With their losses, detached and not weighted."""
    weights_n: Tensor | None
    """None: every weight is 1."""
    metrics: dict[str, float]
    outputs: Any
    """The model's own: its logits are empty on the tap, [N, V] otherwise."""

    @property
    def loss_n(self) -> Tensor:
        assert self.tokens.loss_n is not None
        return self.tokens.loss_n


class HeadTap:
    """Hooks on a model's output head; idle outside `supervised_losses`. Build it before the model is wrapped."""

    def __init__(self, model: nn.Module, plan: HeadPlan | None = None) -> None:
        self.plan = plan or plan_head(model)
        base = base_model(model)
        self.accepts = {name for name in ("logits_to_keep", "use_cache") if accepts(base, name)}
        self._job: _Kept | None = None
        self._handles: list[Any] = []
        if self.plan.path == "tap":
            head = base.get_output_embeddings()
            self._handles = [head.register_forward_pre_hook(self._before), head.register_forward_hook(self._after)]

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def __enter__(self) -> HeadTap:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    @contextmanager
    def working(self, job: _Kept) -> Iterator[dict[str, Any]]:
        """Take the hidden states of one forward; gives the arguments to add to it."""
        offered = {"logits_to_keep": job.keep_bt, "use_cache": False}
        self._job = job
        try:
            yield {name: value for name, value in offered.items() if name in self.accepts}
        finally:
            self._job = None

    def _before(self, head: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if self._job is None:
            return None
        self._job.hidden_nh = self._job.kept(args[0])
        return (self._job.hidden_nh[:0],)

    @torch.compiler.disable  # torch.compile would write out the loop over the vocabulary, strip by strip
    def _after(self, head: nn.Module, args: tuple[Tensor, ...], empty_logits: Tensor) -> None:
        if self._job is not None:
            self._job.measure_hidden(*matrix_of(head), self.plan)


def supervised_losses(
    model: nn.Module,
    inputs: dict[str, Any],
    labels_bt: Tensor,
    tap: HeadTap,
    weighting: Weigh,
    example_ids: Sequence[str] = (),
) -> Supervised:
    """Losses and their weighted sum of one micro batch. `model` may be wrapped; `labels_bt` align with `input_ids`."""
    keep_bt = keep_mask(labels_bt)
    job = _Losses(keep_bt, flatten(labels_bt, keep_bt, inputs, example_ids), weighting)
    with tap.working(job) as arguments:
        outputs = model(**inputs, **arguments)
    if job.result is None:
        job.measure_logits(job.kept(outputs.logits))
    assert job.result is not None
    loss_sum, tokens = job.result
    return Supervised(loss_sum, tokens, job.weights_n, job.metrics, outputs)


def supervised_choices(model: nn.Module, inputs: dict[str, Any], labels_bt: Tensor, tap: HeadTap) -> Tensor:
    """[N] the token that the model itself would put at each supervised place, in row order."""
    job = _Choices(keep_mask(labels_bt))
    with tap.working(job) as arguments:
        outputs = model(**inputs, **arguments)
    return job.kept(outputs.logits).argmax(-1) if job.choice_n is None else job.choice_n


@dataclass
class _Kept(ABC):
    """What is made of one forward's hidden states at the kept positions."""

    keep_bt: Tensor
    hidden_nh: Tensor | None = field(default=None, init=False)

    def kept(self, states: Tensor) -> Tensor:
        """[N, ...] of what the model gave: it kept the right positions itself, or kept all of them."""
        return states[self.keep_bt.to(states.device)] if states.dim() == 3 else states

    @abstractmethod
    def measure_hidden(self, weight_vh: Tensor, bias_v: Tensor | None, plan: HeadPlan) -> None:
        """On the tap: the head's matrix and what comes after it."""


@dataclass
class _Choices(_Kept):
    """The largest logit of each."""

    choice_n: Tensor | None = None

    def measure_hidden(self, weight_vh: Tensor, bias_v: Tensor | None, plan: HeadPlan) -> None:
        assert self.hidden_nh is not None
        self.choice_n = first_choices(self.hidden_nh, weight_vh, bias=bias_v)


@dataclass
class _Losses(_Kept):
    """One forward's table of tokens, and what became of it."""

    tokens: FlatTokens
    weighting: Weigh
    weights_n: Tensor | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    result: tuple[Tensor, FlatTokens] | None = None

    def measure_hidden(self, weight_vh: Tensor, bias_v: Tensor | None, plan: HeadPlan) -> None:
        assert self.hidden_nh is not None
        hidden_nh, self.hidden_nh = self.hidden_nh, None
        targets_n = self.tokens.target_n.to(hidden_nh.device)
        form: dict[str, Any] = {"bias": bias_v, "softcap": plan.softcap, "scale": plan.scale}
        if self.weighting.known_beforehand:
            self._weigh(self.tokens)
            loss_sum, loss_n = weighted_loss(hidden_nh, weight_vh, targets_n, self.weights_n, **form)
            self.result = loss_sum, self.tokens.with_losses(loss_n)
        else:
            self._sum(token_losses(hidden_nh, weight_vh, targets_n, **form))

    def measure_logits(self, logits_nv: Tensor) -> None:
        self._sum(logit_losses(logits_nv, self.tokens.target_n.to(logits_nv.device)))

    def _sum(self, loss_n: Tensor) -> None:
        tokens = self.tokens.with_losses(loss_n)
        self._weigh(self.tokens if self.weighting.known_beforehand else tokens)
        self.result = (loss_n if self.weights_n is None else loss_n * self.weights_n).sum(), tokens

    def _weigh(self, tokens: FlatTokens) -> None:
        weights_n, self.metrics = self.weighting(tokens)
        self.weights_n = None if weights_n is None else weights_n.detach()


class AllOne:
    """Weighs every token alike, for whoever only wants to know the losses."""

    known_beforehand = True

    def __call__(self, tokens: FlatTokens) -> tuple[Tensor | None, dict[str, float]]:
        return None, {}


def verify_head(model: nn.Module, inputs: dict[str, Any], labels_bt: Tensor, tap: HeadTap) -> None:
    """One batch through the model's stock loss and through ours; a ModelError where the two means differ.

    Call it before the model is wrapped. The stock loss builds full logits: a short row is enough, and cheaper.
    """
    modes = [(module, module.training) for module in model.modules()]
    devices = {p.device for p in model.parameters() if p.is_cuda}
    try:
        model.eval()
        with torch.no_grad(), torch.random.fork_rng(devices=list(devices)):
            ours = supervised_losses(model, inputs, labels_bt, tap, AllOne()).loss_n.mean().item()
            outputs = model(**inputs, labels=labels_bt)
    finally:
        for module, training in modes:
            module.training = training
    stock = _stock_loss(base_model(model).config, outputs)
    # Float32 logits may hide a bfloat16 product (autocast converts what it returns); a wrong head is off by far more.
    allowed = (1e-3 if outputs.logits.dtype == torch.float32 else 1e-2) * max(1.0, abs(stock))
    if not abs(ours - stock) <= allowed:
        raise ModelError(
            f"the model's own loss on a first batch is {stock:.6g} and ours is {ours:.6g} ({tap.plan.reason}), more "
            f"than rounding ({allowed:.1g}); training would not be what this model was made for: please report the "
            "architecture, and train it with its own Trainer meanwhile"
        )


def _stock_loss(config: Any, outputs: Any) -> float:
    """Cross-entropy alone: models with routed experts add a balancing loss, which is not the head's business."""
    loss = outputs.loss.item()
    aux = getattr(outputs, "aux_loss", None)
    return loss if aux is None else loss - config.get_text_config().router_aux_loss_coef * float(aux)
