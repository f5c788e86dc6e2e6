"""Batches that losses are measured on: each example once, whatever the ranks."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from curricle.data.rows import EvaluationBatches, Rows
from curricle.data.table import TokenTable


def make_table(num: int) -> TokenTable:
    rng = np.random.default_rng(0)
    input_ids = [rng.integers(1, 100, rng.integers(2, 13)).tolist() for _ in range(num)]
    return TokenTable.from_lists(input_ids, input_ids)


@pytest.mark.parametrize(
    "rows", [Rows(max_length=16, lookahead=8), Rows(max_length=16, packing="none")], ids=["packed", "padded"]
)
@pytest.mark.parametrize("world", [1, 2, 3, 7])
@pytest.mark.parametrize("num", [1, 2, 5, 23])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_evaluation_gives_each_example_once_and_every_rank_as_many_batches(
    rows: Rows, world: int, num: int, batch_size: int
) -> None:
    table = make_table(num)
    per_rank = [list(EvaluationBatches(table, rows, batch_size, rank, world)) for rank in range(world)]
    assert len({len(batches) for batches in per_rank}) == 1
    assert len(per_rank[0]) == len(EvaluationBatches(table, rows, batch_size, 0, world))
    flat = [batch for batches in per_rank for batch in batches]
    assert Counter(example for batch in flat for example in batch["example_ids"]) == dict.fromkeys(range(num), 1)
    assert sum(int((batch["labels"] != -100).sum()) for batch in flat) == table.num_supervised.sum()
    assert all(batch["input_ids"].numel() for batch in flat)
