"""The flat table of supervised tokens: what a loss and a weighting see. No padding, no packing, one line per token.

A label at t is learned by the state that has read the tokens before t, so its loss belongs to position t - 1:

    t             0     1     2     3     4     5
    input_ids    <s>   How    ?   <s>   Fine   .        two documents in one row
    labels       -100  -100   ?   -100  Fine   .        aligned with input_ids; no document's first token
    keep          .     x     .     x     x    .        where hidden states are taken: the next label is learned
    targets_n           ?          Fine   .             read at t + 1, in row order
    doc_n               0           1     1
    position_n          2           1     2             index of the target in its document
    last_n              x           .     x             no later token of its document is learned

What else a weighting may ask for is joined to the table by whoever knows it, and is None otherwise: values of the
states before and after a token (a critic), and what rows bring along (`training.columns`).

Suffixes: bt batch x time, n supervised tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

IGNORED = -100

Metrics = dict[str, Any]
"""A name -> a number, a mean over the micro batch's tokens; or (sum, count), whose ratio is taken over step and ranks.
Tensors stay on their device until the step closes."""


@dataclass(frozen=True)
class FlatTokens:
    """Supervised tokens of one micro batch, in row order."""

    target_n: Tensor
    doc_n: Tensor
    """Number of the document within the micro batch."""
    position_n: Tensor
    """Index of the target token in its document."""
    loss_n: Tensor | None = None
    """Detached; None while it is not known yet."""
    example_ids: Sequence[str] = field(default=())
    """One id per document; empty when the batch has none."""
    example_n: Tensor | None = None
    """The number of its example in the training set."""
    last_n: Tensor | None = None
    """Whether it is the last learned token of its document."""
    truncated_n: Tensor | None = None
    """Whether its document was cut, so that its last token is no end; None when no document was."""
    reward_n: Tensor | None = None
    """Its document's reward, NaN where it has none."""
    before_n: Tensor | None = None
    """Detached value of the state that the token is read in."""
    after_n: Tensor | None = None
    """Detached value of the state once it is read."""
    reference_n: Tensor | None = None
    """Its loss under a reference model."""
    given_n: Tensor | None = None
    """The weight that its row brings."""

    def __len__(self) -> int:
        return self.target_n.shape[0]

    def with_losses(self, loss_n: Tensor) -> FlatTokens:
        return replace(self, loss_n=loss_n.detach())


class Weigh(Protocol):
    """What a loss needs of a weighting: see `weighting.base`."""

    known_beforehand: bool

    def __call__(self, tokens: FlatTokens) -> tuple[Tensor | None, Metrics]: ...


def keep_mask(labels_bt: Tensor) -> Tensor:
    """Positions whose next token is learned; a row's last position never is."""
    keep_bt = torch.zeros_like(labels_bt, dtype=torch.bool)
    keep_bt[:, :-1] = labels_bt[:, 1:] != IGNORED
    return keep_bt


def flatten(labels_bt: Tensor, keep_bt: Tensor, inputs: dict[str, Any], example_ids: Sequence[str] = ()) -> FlatTokens:
    """The table of a micro batch, packed (`position_ids` or `seq_idx` say where documents begin) or padded."""
    doc_bt, position_bt = _documents(labels_bt, inputs)
    # The learned tokens themselves; keep's last column is never True. As numbers, because a device that gathers by a
    # mask has to be waited for each time.
    after_n = torch.roll(keep_bt, 1, dims=1).flatten().nonzero().squeeze(1)
    target_n, doc_n, position_n = (each.flatten()[after_n] for each in (labels_bt, doc_bt, position_bt))
    return FlatTokens(target_n, doc_n, position_n, example_ids=example_ids, last_n=last_of_documents(doc_n))


def last_of_documents(doc_n: Tensor) -> Tensor:
    """Whether a token is the last of its document; documents lie one after the other."""
    last_n = torch.ones_like(doc_n, dtype=torch.bool)
    last_n[:-1] = doc_n[1:] != doc_n[:-1]
    return last_n


def _documents(labels_bt: Tensor, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Document number and position in the document, of every token."""
    position_bt, mask_bt = inputs.get("position_ids"), inputs.get("attention_mask")
    if position_bt is not None:
        starts_bt = position_bt == 0
        return starts_bt.flatten().cumsum(0).view_as(starts_bt) - 1, position_bt
    row_bt = torch.arange(labels_bt.shape[0], device=labels_bt.device)[:, None].expand_as(labels_bt)
    if mask_bt is not None and mask_bt.dim() == 2:  # padding on either side does not count
        return row_bt, mask_bt.long().cumsum(1) - 1
    return row_bt, torch.arange(labels_bt.shape[1], device=labels_bt.device).expand_as(labels_bt)
