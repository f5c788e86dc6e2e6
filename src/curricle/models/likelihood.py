"""What a model makes of every supervised token of a table: its loss, or whether it would have put it first.

The values do not depend on how the rows fall into batches, and lie in the table's order:

    example     0              1           2
    tokens      p p A B        q C         r D E F        capitals are supervised
    values      a b            c           d e f
    starts      0              2           3          6

Each rank computes its share, and all ranks have all values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..data.rows import Rows, evaluation_batches
from ..data.table import EncodedExample, TokenTable
from ..losses.flat import keep_mask
from ..runtime.progress import track
from ..runtime.ranks import all_sum, world_size
from .attention import for_model
from .head import AllOne, HeadTap, Supervised, base_model, supervised_choices, supervised_losses
from .value_head import ValueTap, read_states

Measure = Callable[[nn.Module, dict[str, Any], Tensor, Any], Tensor]


@dataclass(frozen=True)
class TokenValues:
    """Example i has `values[starts[i]:starts[i + 1]]`, one for each of its supervised tokens."""

    values: npt.NDArray[np.float64]
    starts: npt.NDArray[np.int64]

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        return np.diff(self.starts)

    def of(self, i: int) -> npt.NDArray[np.float64]:
        return self.values[self.starts[i] : self.starts[i + 1]]

    def sums(self) -> npt.NDArray[np.float64]:
        """The sum of each example; 0 where nothing is supervised."""
        examples = np.repeat(np.arange(len(self.counts)), self.counts)
        return np.bincount(examples, weights=self.values, minlength=len(self.counts)).astype(np.float64)


def token_losses_of(
    model: nn.Module,
    table: TokenTable,
    rows: Rows,
    *,
    batch_size: int = 1,
    tap: HeadTap | None = None,
    see: Callable[[Supervised], None] | None = None,
) -> TokenValues:
    """-log p of every supervised token of a table, `batch_size` rows at a time. A trainer has a tap on its model.

    `see` is shown every batch of this rank, with the losses of all heads of a multi-token model.
    """
    measure = _losses if see is None else partial(_shown, see)
    if tap is not None:
        return _measured(model, table, rows, batch_size, measure, tap)
    with HeadTap(model) as own:
        return _measured(model, table, rows, batch_size, measure, own)


def token_hits_of(model: nn.Module, table: TokenTable, rows: Rows, *, batch_size: int = 1) -> TokenValues:
    """1 where the supervised token is the one the model would have put there itself, else 0."""
    with HeadTap(model) as tap:
        return _measured(model, table, rows, batch_size, _hits, tap)


def state_values_of(
    model: nn.Module, table: TokenTable, rows: Rows, tap: ValueTap, *, batch_size: int = 1
) -> TokenValues:
    """A critic's value of the state that every supervised token of a table is chosen in."""
    return _measured(model, table, rows, batch_size, _values, tap)


def mean_by_domain(sums: npt.NDArray[np.float64], counts: npt.NDArray[np.int64], table: TokenTable) -> dict[str, float]:
    """The mean over the tokens of each domain, where rows name theirs, from each example's sum and count."""
    names = table.domain_names
    of_domain = np.bincount(table.domains, sums, minlength=len(names))
    num = np.bincount(table.domains, counts, minlength=len(names))
    return {name: float(of_domain[i] / num[i]) for i, name in enumerate(names) if num[i]}


def answer_losses_of(
    model: nn.Module,
    pairs: Sequence[tuple[list[int], list[int]]],
    rows: Rows,
    *,
    first: int = 0,
    batch_size: int = 1,
) -> TokenValues:
    """-log p of each answer's tokens from `first` on, after its prompt; the pairs are in tokens. Rows grow to fit."""
    examples = [
        EncodedExample("", np.array(prompt + answer, dtype=np.uint32), _behind(len(prompt) + first, prompt, answer))
        for prompt, answer in pairs
    ]
    longest = max(len(example.tokens) for example in examples)
    wide = replace(rows, max_length=max(rows.max_length, longest))
    return token_losses_of(model, TokenTable.from_examples(examples), wide, batch_size=batch_size)


def _behind(place: int, prompt: list[int], answer: list[int]) -> npt.NDArray[np.bool_]:
    return np.arange(len(prompt) + len(answer)) >= place


def over_ranks(values: npt.NDArray[np.float64], model: nn.Module) -> npt.NDArray[np.float64]:
    """The sum over ranks; each rank brings zeros where another has the value."""
    if world_size() == 1:
        return values
    return all_sum(torch.from_numpy(values).to(next(model.parameters()).device)).cpu().numpy()


def max_positions(model: nn.Module) -> int | None:
    """The longest row that the model was made for, where its config says so."""
    return getattr(base_model(model).config.get_text_config(), "max_position_embeddings", None)


def _losses(model: nn.Module, inputs: dict[str, Any], labels_bt: Tensor, tap: HeadTap) -> Tensor:
    return supervised_losses(model, inputs, labels_bt, tap, AllOne()).loss_n


def _shown(
    see: Callable[[Supervised], None], model: nn.Module, inputs: dict[str, Any], labels_bt: Tensor, tap: HeadTap
) -> Tensor:
    result = supervised_losses(model, inputs, labels_bt, tap, AllOne(), scales=tap.coefficients)
    see(result)
    return result.loss_n


def _values(model: nn.Module, inputs: dict[str, Any], labels_bt: Tensor, tap: ValueTap) -> Tensor:
    return read_states(model, inputs, tap).value_bt[keep_mask(labels_bt)]


def _hits(model: nn.Module, inputs: dict[str, Any], labels_bt: Tensor, tap: HeadTap) -> Tensor:
    targets_n = labels_bt[torch.roll(keep_mask(labels_bt), 1, dims=1)]
    return supervised_choices(model, inputs, labels_bt, tap) == targets_n


@torch.no_grad()
def _measured(
    model: nn.Module, table: TokenTable, rows: Rows, batch_size: int, measure: Measure, tap: Any
) -> TokenValues:
    starts = np.concatenate([[0], np.cumsum(table.num_supervised, dtype=np.int64)])
    values = np.zeros(starts[-1])
    device, was_training = next(model.parameters()).device, model.training
    model.eval()
    try:
        batches = evaluation_batches(table, rows, batch_size)
        for batch in track(batches, "reading held-out rows", total=len(batches)):
            inputs = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}
            examples, labels_bt = inputs.pop("example_ids"), inputs.pop("labels")
            with for_model(inputs) as model_inputs:
                found_n = measure(model, model_inputs, labels_bt, tap)
            places = [np.arange(starts[i], starts[i + 1]) for i in examples]
            if places:
                values[np.concatenate(places)] = found_n.cpu().double().numpy()
    finally:
        model.train(was_training)
    return TokenValues(over_ranks(values, model), starts)
