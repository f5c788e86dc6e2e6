"""What each head learns where, against a slow reading of the definition."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from curricle.data.rows import Rows
from curricle.losses import flatten, keep_mask
from curricle.losses.future import count_futures, future_masks, futures, head_scales, reference_futures
from support import table

# a b C D | x Y Z, where capitals are learned
DRAWN = torch.tensor([[-100, -100, 3, 4, -100, 6, 7]])
POSITIONS = {"position_ids": torch.tensor([[0, 1, 2, 3, 0, 1, 2]])}


def packed(window: int) -> tuple[dict[str, Any], Tensor]:
    batch = Rows(64, lookahead=window).collate(table(12), [[0, 1, 2], [3, 4, 5, 6]])
    return {"position_ids": batch["position_ids"]}, batch["labels"]


def padded(side: str) -> tuple[dict[str, Any], Tensor]:
    batch = Rows(64, "none").collate(table(12), [[i] for i in range(7)])
    mask, labels = batch["attention_mask"], batch["labels"]
    if side == "left":
        turn = [(-int(row.sum())) % len(row) for row in mask]
        mask, labels = (torch.stack([r.roll(k) for r, k in zip(x, turn, strict=True)]) for x in (mask, labels))
    return {"attention_mask": mask}, labels


def plain() -> tuple[dict[str, Any], Tensor]:
    make = torch.Generator().manual_seed(3)
    labels = torch.randint(4, 90, (3, 9), generator=make)
    return {}, labels.masked_fill(torch.rand(labels.shape, generator=make) < 0.4, -100)


BATCHES = {
    "packed": lambda: packed(8),
    "padded on the right": lambda: padded("right"),
    "padded on the left": lambda: padded("left"),
    "plain, with holes": plain,
    "left, with positions": lambda: (
        padded("left")[0] | {"position_ids": (padded("left")[0]["attention_mask"].cumsum(1) - 1).clamp(min=0)},
        padded("left")[1],
    ),
    "from inside a document": lambda: ({"position_ids": torch.arange(5, 14).repeat(3, 1)}, plain()[1]),
    "nothing learned": lambda: ({}, torch.full((2, 5), -100)),
    "shorter than the heads": lambda: ({}, torch.tensor([[3, 4]])),
}


def test_the_drawn_example() -> None:
    found = futures(keep_mask(DRAWN), flatten(DRAWN, keep_mask(DRAWN), POSITIONS), 3)
    masks = [future.keep_bt[0].int().tolist() for future in found]
    assert masks == [[0, 1, 1, 0, 1, 1, 0], [1, 1, 0, 0, 1, 0, 0], [1, 0, 0, 0, 0, 0, 0]]
    assert [future.row_n.tolist() for future in found] == [[0, 1, 2, 3], [0, 1, 3], [1]]


@pytest.mark.parametrize("num_heads", [1, 2, 4])
@pytest.mark.parametrize("name", BATCHES)
def test_equal_to_the_definition(name: str, num_heads: int) -> None:
    inputs, labels = BATCHES[name]()
    keep = keep_mask(labels)
    tokens = flatten(labels, keep, inputs)
    found = futures(keep, tokens, num_heads)
    expected = reference_futures(labels, inputs, num_heads)
    assert len(found) == num_heads
    for future, places in zip(found, expected, strict=True):
        assert future.keep_bt.nonzero().tolist() == [[row, t] for row, t, _ in places]
        assert tokens.target_n[future.row_n].tolist() == [target for *_, target in places]
    assert torch.equal(found[0].keep_bt, keep)
    assert all(torch.equal(a, b.keep_bt) for a, b in zip(future_masks(labels, inputs, num_heads), found, strict=True))
    assert count_futures(labels, inputs, num_heads).tolist() == [len(places) for places in expected]


def test_arange_tokens_show_the_shift() -> None:
    labels = torch.arange(10, 20)[None]
    tokens = flatten(labels, keep_mask(labels), {})
    for h, future in enumerate(futures(keep_mask(labels), tokens, 4), start=1):
        states = labels[future.keep_bt]
        assert torch.equal(tokens.target_n[future.row_n], states + h)
        assert len(states) == 10 - h


def test_scales_put_each_head_over_its_own_count() -> None:
    counts, coefficients = torch.tensor([100, 80, 50]), (1.0, 0.15, 0.15)
    sums = torch.tensor([7.0, 11.0, 13.0])
    expected = sum(c * s / n for c, s, n in zip(coefficients, sums.tolist(), counts.tolist(), strict=True))
    assert ((head_scales(counts, coefficients) * sums).sum() / 100).item() == pytest.approx(expected, rel=1e-6)
    assert head_scales(torch.tensor([5, 0]), (1.0, 1.0)).isfinite().all()  # no document is long enough for head 2
