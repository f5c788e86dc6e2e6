"""One loss per supervised token, without ever building the full logits. Two ways to the same numbers:

token_losses   a loss per token, differentiable; backward computes the logits again, so any weight may be put on a token
               after its loss is known.
weighted_loss  one weighted sum; the weights are known beforehand, so the gradient is made in the forward pass, in one
               go with the loss, and backward only scales it: three matrix products instead of four.

Both take a head as `h W^T + bias`, times `scale`, soft-capped by `softcap`. Under autocast the products run in the
autocast dtype; sums, exponentials and losses are float32 or better. An input that needs no gradient costs none.

Suffixes: n supervised tokens, h hidden, v vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..errors import ModelError, TrainingError
from .tiles import Gradients, LogitForm, TiledLogits

# Numbers held at a time. Narrow strips stay in cache, wide ones make threads meet less often; a GPU wants few products.
TILE = {"cpu": 1 << 23, "cuda": 1 << 26}
KEPT = {"cpu": 1 << 26, "cuda": 1 << 28}
MIN_WIDTH, MIN_ROWS = 256, 64


def token_losses(
    hidden_nh: Tensor,
    weight_vh: Tensor,
    targets_n: Tensor,
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
    scale: float | None = None,
    chunk: int | None = None,
) -> Tensor:
    """loss_n, differentiable. `chunk` is the number of vocabulary columns held at a time (chosen when None)."""
    plan = _plan(hidden_nh, weight_vh, LogitForm(softcap, scale), chunk)
    return _TokenLosses.apply(hidden_nh, weight_vh, bias, targets_n, plan)


def weighted_loss(
    hidden_nh: Tensor,
    weight_vh: Tensor,
    targets_n: Tensor,
    weights_n: Tensor | None = None,
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
    scale: float | None = None,
    chunk: int | None = None,
    rows: int | None = None,
) -> tuple[Tensor, Tensor]:
    """(sum(weights_n * loss_n), loss_n). Only the sum is differentiable, once; None means that every weight is 1.

    `rows` is the number of tokens whose logits are kept from the loss to the gradient (chosen when None).
    """
    plan = _plan(hidden_nh, weight_vh, LogitForm(softcap, scale), chunk, rows)
    weights_n = None if weights_n is None else weights_n.detach()
    needs_gradient = torch.is_grad_enabled() and any(
        x is not None and x.requires_grad for x in (hidden_nh, weight_vh, bias)
    )
    # float16 must see the loss scale before a probability is rounded, so there the gradient waits for backward.
    if not needs_gradient or plan.dtype == torch.float16:
        loss_n = _TokenLosses.apply(hidden_nh, weight_vh, bias, targets_n, plan)
        return _weighted_sum(loss_n, weights_n), loss_n.detach()
    return _WeightedLoss.apply(hidden_nh, weight_vh, bias, targets_n, weights_n, plan)


@dataclass(frozen=True)
class _Plan:
    form: LogitForm
    dtype: torch.dtype
    """Of the matrix products."""
    chunk: int | None
    rows: int

    def logits(self, hidden_nh: Tensor, weight_vh: Tensor, bias_v: Tensor | None, keep: bool = False) -> TiledLogits:
        tile = TILE.get(hidden_nh.device.type, TILE["cuda"])
        width = self.chunk or max(MIN_WIDTH, tile // max(hidden_nh.shape[0], 1))
        return TiledLogits(hidden_nh.to(self.dtype), weight_vh, bias_v, self.form, width, keep)


def _plan(
    hidden_nh: Tensor, weight_vh: Tensor, form: LogitForm, chunk: int | None = None, rows: int | None = None
) -> _Plan:
    kind, dtype = hidden_nh.device.type, hidden_nh.dtype
    if torch.is_autocast_enabled(kind) and dtype != torch.float64:  # as torch.nn.functional.linear would
        dtype = torch.get_autocast_dtype(kind)
    elif dtype != weight_vh.dtype:
        raise ModelError(
            f"the head got {dtype} hidden states and has a {weight_vh.dtype} weight: load the model in one dtype, "
            "or train under autocast (bf16: true)"
        )
    rows = rows or max(MIN_ROWS, KEPT.get(kind, KEPT["cuda"]) // max(weight_vh.shape[0], 1))
    return _Plan(form, dtype, chunk, rows)


def _weighted_sum(loss_n: Tensor, weights_n: Tensor | None) -> Tensor:
    return loss_n.sum() if weights_n is None else (loss_n * weights_n).sum()


class _TokenLosses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_nh: Tensor, weight_vh: Tensor, bias_v: Tensor | None, targets_n: Tensor, plan: _Plan
    ) -> Tensor:
        with torch.autocast(hidden_nh.device.type, enabled=False):
            loss_n, lse_n = plan.logits(hidden_nh, weight_vh, bias_v).losses(targets_n)
        ctx.save_for_backward(hidden_nh, weight_vh, bias_v, targets_n, lse_n)
        ctx.plan = plan
        return loss_n

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_n: Tensor) -> tuple[Tensor | None, ...]:
        hidden_nh, weight_vh, bias_v, targets_n, lse_n = ctx.saved_tensors
        with torch.autocast(hidden_nh.device.type, enabled=False):
            into = _empty_gradients(ctx, hidden_nh, weight_vh, bias_v, weight_vh.dtype)
            ctx.plan.logits(hidden_nh, weight_vh, bias_v).gradients(targets_n, lse_n, grad_n, into)
        hidden_grad = None if into.hidden_nh is None else into.hidden_nh.to(hidden_nh.dtype)
        return hidden_grad, into.weight_vh, into.bias_v, None, None


class _WeightedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_nh: Tensor,
        weight_vh: Tensor,
        bias_v: Tensor | None,
        targets_n: Tensor,
        weights_n: Tensor | None,
        plan: _Plan,
    ) -> tuple[Tensor, Tensor]:
        with torch.autocast(hidden_nh.device.type, enabled=False):
            math = torch.promote_types(plan.dtype, torch.float32)
            into = _empty_gradients(ctx, hidden_nh, weight_vh, bias_v, math)
            logits, losses = plan.logits(hidden_nh[: plan.rows], weight_vh, bias_v, keep=True), []
            for start in range(0, hidden_nh.shape[0], plan.rows):
                part = slice(start, start + plan.rows)
                logits.turn_to(hidden_nh[part].to(plan.dtype))
                loss_n, lse_n = logits.losses(targets_n[part])
                grad_n = torch.ones_like(loss_n) if weights_n is None else weights_n[part]
                logits.gradients(targets_n[part], lse_n, grad_n, into.rows(part.start, part.stop), add=start > 0)
                losses.append(loss_n)
            loss_n = torch.cat(losses) if losses else hidden_nh.new_empty(0, dtype=math)
        ctx.gradients, ctx.dtypes = into, (hidden_nh.dtype, weight_vh.dtype, None if bias_v is None else bias_v.dtype)
        ctx.mark_non_differentiable(loss_n)
        return _weighted_sum(loss_n, weights_n), loss_n

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        into, ctx.gradients = ctx.gradients, None
        if into is None:
            raise TrainingError(
                "weighted_loss was differentiated twice; its gradient is made once, in the forward pass: "
                "use token_losses where backward runs more than once (retain_graph=True)"
            )
        stored = (into.hidden_nh, into.weight_vh, into.bias_v)
        scaled = (None if x is None else x.mul_(grad).to(dtype) for x, dtype in zip(stored, ctx.dtypes, strict=True))
        return *scaled, None, None, None


def _empty_gradients(
    ctx: Any, hidden_nh: Tensor, weight_vh: Tensor, bias_v: Tensor | None, weight_dtype: torch.dtype
) -> Gradients:
    """Memory for the gradients that are needed; the sums over strips are float32 or better."""
    math = torch.promote_types(hidden_nh.dtype, torch.float32)
    fill = torch.zeros_like if hidden_nh.shape[0] == 0 else torch.empty_like  # no token: no strip writes anything
    needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
    return Gradients(
        torch.zeros_like(hidden_nh, dtype=math) if needs_hidden else None,
        fill(weight_vh, dtype=weight_dtype) if needs_weight else None,
        fill(bias_v, dtype=weight_dtype) if needs_bias and bias_v is not None else None,
    )
