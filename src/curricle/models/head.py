"""Losses at the output head, inside the model's own forward, so that wrappers (PEFT, DDP, FSDP2, autocast) hold.

    trunk -> hidden states at the kept positions [N, H] -> output head -> logits [N, V] -> (cap, scale) -> loss

`logits_to_keep` with a mask takes hidden states only where the next token is learned. From there, two paths:

tap      hooks on the head: the one before it takes the hidden states and hands the head none of them, the one after it
         makes the losses from them and the head's weight, without full logits. The model returns empty logits, which
         keep every parameter in the graph.
logits   the model makes its [N, V] logits and cross-entropy is taken from them. Right for any head.

Which token comes first (`supervised_choices`) is read off on the same two paths.

A multi-token model calls its output head once with the states of all its heads, so neither logits nor the gradient of
the head's weight is there once a head:

    head 1  [N_1, H] --.
    head 2  [N_2, H] --+--> [M, H] -> losses of all -> sum of s_h * weight * loss      s_h: see `losses.future`
    head 3  [N_3, H] --'

`head_plan` says which path is right for a model.

Suffixes: bt batch x time, n supervised tokens, m supervised tokens of all heads, h hidden, v vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import ModelError, TrainingError
from ..losses.choices import first_choices
from ..losses.flat import FlatTokens, Weigh, flatten, keep_mask
from ..losses.future import Future, futures, reference_futures
from ..losses.reference import logit_losses
from ..losses.token_losses import token_losses, weighted_loss
from .head_plan import HeadPlan, accepts, base_model, matrix_of, plan_head


@dataclass(frozen=True)
class Supervised:
    """What one micro batch gave."""

    loss_sum: Tensor
    """sum(weight * loss), to be differentiated; zero but connected to the graph where nothing is supervised. Of several
    heads: the sum of theirs, each times its scale."""
    tokens: FlatTokens
    """With their losses at the first head, detached and not weighted."""
    weights_n: Tensor | None
    """None: every weight is 1. A column for each head where a weighting tells them apart."""
    metrics: dict[str, Any]
    outputs: Any
    """The model's own: its logits are empty on the tap, [N, V] otherwise."""
    further: tuple[HeadLosses, ...] = ()
    """Of heads 2, 3, ..., where they were asked for."""

    @property
    def loss_n(self) -> Tensor:
        assert self.tokens.loss_n is not None
        return self.tokens.loss_n


class HeadLosses(NamedTuple):
    """A further head's losses, detached and not weighted."""

    loss_n: Tensor
    row_n: Tensor
    """The row of each in the table of tokens."""


class HeadTap:
    """Hooks on a model's output head; idle outside `supervised_losses`. Build it before the model is wrapped."""

    def __init__(self, model: nn.Module, plan: HeadPlan | None = None) -> None:
        self.plan = plan or plan_head(model)
        base = base_model(model)
        self.accepts = {name for name in ("logits_to_keep", "use_cache", "mtp_keep") if accepts(base, name)}
        self.coefficients: list[float] = base.config.coefficients if "mtp_keep" in self.accepts else [1.0]
        """What each head's mean loss counts, from the first on."""
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
        offered |= {"mtp_keep": job.further} if job.further else {}
        self._job = job
        try:
            yield {name: value for name, value in offered.items() if name in self.accepts}
        finally:
            self._job = None

    def _before(self, head: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if self._job is None:
            return None
        self._job.hidden_mh = self._job.kept(args[0])
        return (self._job.hidden_mh[:0],)

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
    scales: Sequence[float] | Tensor = (1.0,),
) -> Supervised:
    """Losses and their weighted sum of one micro batch. `model` may be wrapped; `labels_bt` align with `input_ids`.

    `scales` has one number for each head that learns, from the first on; by default only the first one does.
    """
    keep_bt = keep_mask(labels_bt)
    tokens = flatten(labels_bt, keep_bt, inputs, example_ids)
    heads = futures(keep_bt, tokens, len(scales))
    job = _Losses(
        keep_bt,
        [head.keep_bt for head in heads[1:]],
        tokens=tokens,
        weighting=weighting,
        heads=heads,
        scales=scales,
    )
    with tap.working(job) as arguments:
        outputs = model(**inputs, **arguments)
    if job.result is None:
        job.measure_logits([job.kept(outputs.logits), *(outputs.mtp_logits if job.further else ())])
    assert job.result is not None
    loss_sum, tokens, further = job.result
    return Supervised(loss_sum, tokens, job.weights_n, job.metrics, outputs, further)


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
    further: list[Tensor] = field(default_factory=list)
    """The masks of heads 2, 3, ..., where they take part."""
    hidden_mh: Tensor | None = field(default=None, init=False)

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
        assert self.hidden_mh is not None
        self.choice_n = first_choices(self.hidden_mh, weight_vh, bias=bias_v)


@dataclass
class _Losses(_Kept):
    """One forward's table of tokens, and what became of it."""

    tokens: FlatTokens = field(kw_only=True)
    weighting: Weigh = field(kw_only=True)
    heads: list[Future] = field(kw_only=True)
    scales: Sequence[float] | Tensor = field(kw_only=True)
    weights_n: Tensor | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    result: tuple[Tensor, FlatTokens, tuple[HeadLosses, ...]] | None = None

    def measure_hidden(self, weight_vh: Tensor, bias_v: Tensor | None, plan: HeadPlan) -> None:
        assert self.hidden_mh is not None
        hidden_mh, self.hidden_mh = self.hidden_mh, None
        targets_m = self._targets().to(hidden_mh.device)
        form: dict[str, Any] = {"bias": bias_v, "softcap": plan.softcap, "scale": plan.scale}
        if self.weighting.known_beforehand:
            self._weigh(self.tokens)
            loss_sum, loss_m = weighted_loss(hidden_mh, weight_vh, targets_m, self._weights_m(hidden_mh), **form)
            self._finish(loss_sum, loss_m)
        else:
            self._sum(token_losses(hidden_mh, weight_vh, targets_m, **form))

    def measure_logits(self, logits: Sequence[Tensor]) -> None:
        targets_m, sizes = self._targets(), [len(head.row_n) for head in self.heads]
        parts = zip(logits, targets_m.split(sizes), strict=True)
        losses = [logit_losses(logits_nv, targets_n.to(logits_nv.device)) for logits_nv, targets_n in parts]
        self._sum(losses[0] if len(losses) == 1 else torch.cat(losses))

    def _targets(self) -> Tensor:
        """[M] what every head learns, one head after the other; one head has the table's own."""
        target_n = self.tokens.target_n
        return target_n if len(self.heads) == 1 else torch.cat([target_n[head.row_n] for head in self.heads])

    def _sum(self, loss_m: Tensor) -> None:
        num = len(self.tokens)
        self._weigh(self.tokens if self.weighting.known_beforehand else self.tokens.with_losses(loss_m[:num]))
        weights_m = self._weights_m(loss_m)
        self._finish((loss_m if weights_m is None else loss_m * weights_m).sum(), loss_m)

    def _weigh(self, tokens: FlatTokens) -> None:
        weights_n, self.metrics = self.weighting(tokens)
        self.weights_n = None if weights_n is None else weights_n.detach()
        if weights_n is not None:
            self._check_weights(weights_n)

    def _check_weights(self, weights_n: Tensor) -> None:
        """Another shape would be spread over all tokens silently. Signs are looked at where that makes nobody wait."""
        num, found = len(self.tokens), tuple(weights_n.shape)
        if found != (num,) and (len(self.heads) == 1 or found != (num, len(self.heads))):
            raise TrainingError(
                f"a weighting gave weights of shape {found} for {num} tokens and {len(self.heads)} heads; it takes one "
                f"weight for each token, ({num},), or one for each token and head"
            )
        if num and weights_n.device.type == "cpu" and bool((weights_n < 0).any()):
            raise TrainingError(
                f"a weighting gave a weight of {weights_n.min().item():g}; it says how much a token counts, 0 at least"
            )

    def _weights_m(self, like: Tensor) -> Tensor | None:
        """A token's weight wherever it is learned, times the head's scale; None where all of that is 1."""
        if len(self.heads) == 1:
            return self.weights_n
        whole = torch.promote_types(like.dtype, torch.float32)
        all_n = torch.ones(len(self.tokens), dtype=whole, device=like.device)
        all_n = all_n if self.weights_n is None else self.weights_n.to(all_n)
        by_head = all_n.unbind(1) if all_n.dim() == 2 else [all_n] * len(self.heads)
        parts = zip(by_head, self.heads, self.scales, strict=True)
        return torch.cat([own_n[head.row_n.to(like.device)] * scale for own_n, head, scale in parts]).to(whole)

    def _finish(self, loss_sum: Tensor, loss_m: Tensor) -> None:
        first_n, *others = loss_m.detach().split([len(head.row_n) for head in self.heads])
        further = tuple(HeadLosses(loss_n, head.row_n) for loss_n, head in zip(others, self.heads[1:], strict=True))
        self.result = loss_sum, self.tokens.with_losses(first_n), further


class AllOne:
    """Weighs every token alike, for whoever only wants to know the losses."""

    known_beforehand = True

    def __call__(self, tokens: FlatTokens) -> tuple[Tensor | None, dict[str, float]]:
        return None, {}


def verify_head(model: nn.Module, inputs: dict[str, Any], labels_bt: Tensor, tap: HeadTap) -> None:
    """One batch through the model's stock loss and through ours; a ModelError where the two means differ, at any head.

    Call it before the model is wrapped. The stock loss builds full logits: a short row is enough, and cheaper.
    """
    modes = [(module, module.training) for module in model.modules()]
    devices = {p.device for p in model.parameters() if p.is_cuda}
    num_heads = len(tap.coefficients)
    try:
        model.eval()
        with torch.no_grad(), torch.random.fork_rng(devices=list(devices)):
            ours = supervised_losses(model, inputs, labels_bt, tap, AllOne(), scales=tap.coefficients)
            outputs = model(**inputs, labels=labels_bt)
            all_bthv = model(**inputs, all_heads=True).logits if num_heads > 1 else None
    finally:
        for module, training in modes:
            module.training = training
    stock = _stock_loss(base_model(model).config, outputs)
    # Float32 logits may hide a bfloat16 product (autocast converts what it returns); a wrong head is off by far more.
    tolerance = 1e-3 if outputs.logits.dtype == torch.float32 else 1e-2
    _must_be_equal(ours.loss_n.mean().item(), stock, tolerance, tap.plan.reason)
    if all_bthv is not None:
        learned = reference_futures(labels_bt, inputs, num_heads)
        for h, (places, further) in enumerate(zip(learned[1:], ours.further, strict=True), start=2):
            if places:
                row_n, at_n, target_n = torch.tensor(places, device=all_bthv.device).unbind(1)
                expected = logit_losses(all_bthv[row_n, at_n, h - 1], target_n).mean().item()
                found = further.loss_n.sum().item() / len(places)
                _must_be_equal(found, expected, tolerance, f"head {h}: {tap.plan.reason}")


def _must_be_equal(ours: float, stock: float, tolerance: float, where: str) -> None:
    allowed = tolerance * max(1.0, abs(stock))
    if not abs(ours - stock) <= allowed:
        raise ModelError(
            f"the model's own loss on a first batch is {stock:.6g} and ours is {ours:.6g} ({where}), more than "
            f"rounding ({allowed:.1g}); training would not be what this model was made for: please report the "
            "architecture, and train it with its own Trainer meanwhile"
        )


def _stock_loss(config: Any, outputs: Any) -> float:
    """Cross-entropy alone: models with routed experts add a balancing loss, which is not the head's business."""
    loss = outputs.loss.item()
    aux = getattr(outputs, "aux_loss", None)
    return loss if aux is None else loss - config.get_text_config().router_aux_loss_coef * float(aux)
