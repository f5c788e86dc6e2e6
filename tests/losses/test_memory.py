"""No tensor of the size of the full logits is ever made: every result of every operation is looked at."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from curricle.losses import reference_token_losses, token_losses, weighted_loss

NUM, VOCAB, HIDDEN = 600, 9000, 8


class Largest(TorchDispatchMode):
    """Remembers the most numbers any operation gave back."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        sizes = [leaf.untyped_storage().nbytes() // 4 for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        self.numbers = max([self.numbers, *sizes])
        return out


def largest(loss: Any) -> int:
    hidden, weight = torch.randn(NUM, HIDDEN, requires_grad=True), torch.randn(VOCAB, HIDDEN, requires_grad=True)
    targets = torch.randint(VOCAB, (NUM,))
    with Largest() as seen:
        loss(hidden, weight, targets).backward()
    return seen.numbers


@pytest.mark.parametrize("options", [{}, {"softcap": 5.0}, {"scale": 0.5}])
def test_no_full_logits(options: dict[str, float]) -> None:
    full = NUM * VOCAB
    assert largest(lambda h, w, t: reference_token_losses(h, w, t, **options).sum()) == full
    chunk = 100
    assert largest(lambda h, w, t: token_losses(h, w, t, chunk=chunk, **options).sum()) == max(
        NUM * chunk, VOCAB * HIDDEN
    )
    rows = 50
    found = largest(lambda h, w, t: weighted_loss(h, w, t, chunk=chunk, rows=rows, **options)[0])
    assert found == max(rows * VOCAB, VOCAB * HIDDEN)
