"""Logits a few vocabulary columns at a time, and the two sweeps over them: losses, then gradients.

All tokens at once, a narrow strip of the vocabulary at a time: its part of the weight gradient is finished in one
product, and memory does not grow with the vocabulary.

              columns ->   0..w      w..2w     2w..3w   ...
    sweep 1, losses       [tile]    [tile]    [tile]          log-sum-exp of each strip -> of all; the target's logit
    sweep 2, gradients    [tile]    [tile]    [tile]          exp(logit - log-sum-exp) - 1 at the target -> dH, dW, db

Sweep 2 computes the tiles again, or takes the ones that sweep 1 kept.

Suffixes: n tokens, h hidden, v vocabulary, w the columns of one tile, s strips.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

FEW = 64


@dataclass(frozen=True)
class LogitForm:
    """How a head turns products into logits: softcap * tanh(scale * (h W + b) / softcap), each part optional."""

    softcap: float | None = None
    scale: float | None = None

    @property
    def plain(self) -> bool:
        return self.softcap is None and self.scale is None


@dataclass(frozen=True)
class Gradients:
    """Where gradients go; None for an input that needs none, so no work is done for it."""

    hidden_nh: Tensor | None
    weight_vh: Tensor | None
    bias_v: Tensor | None

    def rows(self, start: int, stop: int) -> Gradients:
        """The same weight and bias, the hidden states of some tokens."""
        hidden_nh = None if self.hidden_nh is None else self.hidden_nh[start:stop]
        return Gradients(hidden_nh, self.weight_vh, self.bias_v)


class TiledLogits:
    """The logits of `hidden_nh`, tile by tile, in scratch memory of `width` columns (all columns with `keep`)."""

    def __init__(
        self,
        hidden_nh: Tensor,
        weight_vh: Tensor,
        bias_v: Tensor | None,
        form: LogitForm,
        width: int,
        keep: bool = False,
    ) -> None:
        self.hidden_nh, self.weight_vh, self.bias_v, self.form = hidden_nh, weight_vh, bias_v, form
        self.num_tokens, self.vocab, self.keep = hidden_nh.shape[0], weight_vh.shape[0], keep
        self.width = min(width, self.vocab)
        self.math = torch.promote_types(hidden_nh.dtype, torch.float32)
        self._store = hidden_nh.new_empty(self.num_tokens * (self.vocab if keep else self.width))
        self._work = hidden_nh.new_empty(self.num_tokens * self.width, dtype=self.math)

    def turn_to(self, hidden_nh: Tensor) -> None:
        """Other tokens, at most as many, in the same memory: fresh pages cost more than what is computed in them."""
        self.hidden_nh, self.num_tokens = hidden_nh, hidden_nh.shape[0]

    def losses(self, targets_n: Tensor) -> tuple[Tensor, Tensor]:
        """(loss, log-sum-exp) of every token. A target outside the vocabulary gives NaN, never a silent number."""
        own_n, lse_sn = self._work.new_full((self.num_tokens,), torch.nan), []
        for start, stop in self._strips():
            logits_nw = self._finish(self._product(start, stop))
            inside_n, column_n1 = _locate(targets_n, start, stop)
            own_n = torch.where(inside_n, logits_nw.gather(1, column_n1).squeeze(1), own_n)
            lse_sn.append(self._strip_lse(logits_nw))
        lse_n = torch.logsumexp(torch.stack(lse_sn), 0) if lse_sn else own_n
        return lse_n - own_n, lse_n

    def gradients(self, targets_n: Tensor, lse_n: Tensor, grad_n: Tensor, into: Gradients, add: bool = False) -> None:
        """Write the gradient of sum(grad_n * loss_n); with `add`, weight and bias gradients are added to.

        `into.hidden_nh` must hold zeros at first: every strip adds to it.
        """
        grad_n = grad_n.to(self.math)
        if self.form.scale is not None:
            grad_n = grad_n * self.form.scale
        for start, stop in self._strips():
            raw_nw = self._view(self._store, start, stop) if self.keep else self._product(start, stop)
            grad_nw = self._logit_gradient(raw_nw, targets_n, lse_n, grad_n, (start, stop))
            if into.bias_v is not None:
                total_w = grad_nw.sum(0)
                into.bias_v[start:stop] = into.bias_v[start:stop] + total_w if add else total_w
            grad_nw = grad_nw.to(self.hidden_nh.dtype)
            if into.hidden_nh is not None:
                _accumulate(into.hidden_nh, grad_nw, self._weight(start, stop), add=True)
            if into.weight_vh is not None:
                _accumulate(into.weight_vh[start:stop], grad_nw.t(), self.hidden_nh, add=add)

    def _logit_gradient(
        self, raw_nw: Tensor, targets_n: Tensor, lse_n: Tensor, grad_n: Tensor, strip: tuple[int, int]
    ) -> Tensor:
        logits_nw = self._finish(raw_nw)
        slope_nw = None
        if self.form.softcap is not None:  # d cap * tanh(x / cap) / dx = 1 - tanh^2
            slope_nw = (logits_nw / self.form.softcap).square_().neg_().add_(1)
        grad_nw = self._exp(logits_nw, lse_n).mul_(grad_n[:, None])
        inside_n, column_n1 = _locate(targets_n, *strip)
        # One target per row, so this scatter is deterministic; rows whose target is elsewhere write back what is there.
        own_n1 = grad_nw.gather(1, column_n1) - torch.where(inside_n, grad_n, 0)[:, None]
        grad_nw.scatter_(1, column_n1, own_n1)
        return grad_nw if slope_nw is None else grad_nw.mul_(slope_nw)

    def _strips(self) -> Iterator[tuple[int, int]]:
        if self.num_tokens:
            for start in range(0, self.vocab, self.width):
                yield start, min(start + self.width, self.vocab)

    def _view(self, memory: Tensor, start: int, stop: int) -> Tensor:
        offset = start * self.num_tokens if memory is self._store and self.keep else 0
        return memory[offset : offset + self.num_tokens * (stop - start)].view(self.num_tokens, stop - start)

    def _weight(self, start: int, stop: int) -> Tensor:
        return self.weight_vh[start:stop].to(self.hidden_nh.dtype)

    def _product(self, start: int, stop: int) -> Tensor:
        out_nw, weight_hw = self._view(self._store, start, stop), self._weight(start, stop).t()
        if self.bias_v is None:
            return torch.mm(self.hidden_nh, weight_hw, out=out_nw)
        return torch.addmm(self.bias_v[start:stop].to(out_nw.dtype), self.hidden_nh, weight_hw, out=out_nw)

    def _finish(self, raw_nw: Tensor) -> Tensor:
        """Products to logits in float32 or better. A kept product stays as it is."""
        if self.form.plain and raw_nw.dtype == self.math:
            return raw_nw
        logits_nw = self._scratch(raw_nw).copy_(raw_nw)
        if self.form.scale is not None:
            logits_nw.mul_(self.form.scale)
        if self.form.softcap is not None:
            logits_nw.div_(self.form.softcap).tanh_().mul_(self.form.softcap)
        return logits_nw

    def _strip_lse(self, logits_nw: Tensor) -> Tensor:
        if self.bias_v is not None:  # which may be -inf, for words that are never said
            return torch.logsumexp(logits_nw, 1)
        # log_softmax is one pass over the strip where logsumexp is five. It subtracts the log-sum-exp from every logit,
        # so any column gives it back, the largest of a few with the least rounding.
        few_n = logits_nw[:, :FEW].amax(1)
        return few_n - torch.log_softmax(logits_nw, 1, out=self._scratch(logits_nw))[:, :FEW].amax(1)

    def _scratch(self, like_nw: Tensor) -> Tensor:
        return self._work[: like_nw.numel()].view(like_nw.shape)

    def _exp(self, logits_nw: Tensor, minus_n: Tensor) -> Tensor:
        return torch.sub(logits_nw, minus_n[:, None], out=self._scratch(logits_nw)).exp_()


def _locate(targets_n: Tensor, start: int, stop: int) -> tuple[Tensor, Tensor]:
    """Which targets fall into the strip, and a column to look at for every row (any column, where it does not)."""
    inside_n = (targets_n >= start) & (targets_n < stop)
    return inside_n, (targets_n - start).clamp(0, stop - start - 1)[:, None]


def _accumulate(out: Tensor, left: Tensor, right: Tensor, add: bool) -> None:
    """out (+)= left @ right, also where the product is in half precision and the sum is not."""
    if out.dtype == left.dtype:
        out.addmm_(left, right, beta=1 if add else 0)
    elif add:
        out.add_(torch.mm(left, right))
    else:
        out.copy_(torch.mm(left, right))
