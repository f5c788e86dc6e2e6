"""What must hold of every packed run: METHODS on packing, and N ranks x b rows = 1 rank x N*b rows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from curricle.curriculum.order import Mask, Order
from curricle.data.packing import pack
from curricle.data.rows import Rows
from curricle.data.table import TokenTable
from curricle.training.batches import OrderedBatches


@dataclass
class Layout:
    per_device_train_batch_size: int = 1
    gradient_accumulation_steps: int = 1
    world_size: int = 1
    process_index: int = 0
    max_steps: int = 8
    seed: int = 0


class Pacing(Order):
    """Admits a prefix that grows with progress, and one example more for each observed step."""

    observes = True

    def __init__(self, num_examples: int) -> None:
        self.num_examples, self.extra = num_examples, 0

    def admitted(self, progress: float) -> Mask:
        return np.arange(self.num_examples) <= int(progress * self.num_examples / 2) + self.extra

    def observe(self, step: int, ids: Any, losses: Any) -> None:
        self.extra += len(ids) > 2

    def state_dict(self) -> dict[str, Any]:
        return {"extra": self.extra}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.extra = state["extra"]


def make_table(lengths: list[int]) -> TokenTable:
    rng = np.random.default_rng(0)
    input_ids = [rng.integers(1, 100, n).tolist() for n in lengths]
    return TokenTable.from_lists(input_ids, input_ids)


def joined(parts: Iterable[list[int]]) -> list[int]:
    return list(chain.from_iterable(parts))


def chat_lengths(num: int, seed: int = 0) -> np.ndarray:
    """Mean about 250 tokens, as the fill of the documentation is measured on."""
    return np.clip(np.random.default_rng(seed).lognormal(np.log(250) - 0.32, 0.8, num), 8, 1024).astype(np.int64)


LENGTHS = st.lists(st.integers(2, 16), min_size=1, max_size=40)


@given(lengths=LENGTHS, budget=st.integers(16, 40), lookahead=st.integers(1, 20))
def test_every_sample_once_none_split_none_longer_than_the_row(lengths: list[int], budget: int, lookahead: int) -> None:
    rows = pack(np.array(lengths), budget, lookahead)
    assert sorted(rows.examples) == list(range(len(lengths)))
    row_lengths = [sum(lengths[i] for i in rows[r]) for r in range(len(rows))]
    assert all(0 < length <= budget for length in row_lengths)
    assert sum(row_lengths) == sum(lengths) == rows.stats.num_tokens


@given(lengths=LENGTHS, budget=st.integers(16, 40), lookahead=st.integers(1, 20))
def test_nobody_waits_longer_or_comes_earlier_than_stated(lengths: list[int], budget: int, lookahead: int) -> None:
    rows = pack(np.array(lengths), budget, lookahead)
    row_of = {i: r for r in range(len(rows)) for i in rows[r]}
    place = {i: p for p, i in enumerate(rows.examples.tolist())}
    num_drawn = 0
    for r in range(len(rows)):
        entered = range(num_drawn, num_drawn := min(len(lengths), int(rows.starts[r]) + lookahead))
        assert all(r <= row_of[i] < r + lookahead for i in entered)
    for i in row_of:
        assert sum(place[j] > place[i] for j in range(i)) < lookahead


def test_the_fill_promised_for_the_default_lookahead() -> None:
    assert pack(chat_lengths(20_000), 1024, 256).stats.fill >= 0.97


def test_packing_is_deterministic() -> None:
    first, second = (pack(chat_lengths(3000), 1024, 256) for _ in range(2))
    assert first.examples.tolist() == second.examples.tolist()
    assert first.starts.tolist() == second.starts.tolist()


@settings(max_examples=50)
@given(lengths=LENGTHS, budget=st.integers(16, 40), lookahead=st.integers(1, 20))
def test_a_pass_trains_on_every_sample_once_before_the_next_begins(
    lengths: list[int], budget: int, lookahead: int
) -> None:
    batches = OrderedBatches(make_table(lengths), Order(), Rows(max_length=budget, lookahead=lookahead), Layout())
    for _ in range(3):
        trained: Counter[int] = Counter()
        while trained.total() < len(lengths):
            trained.update(batches.next_batch()["example_ids"])
        assert trained == dict.fromkeys(range(len(lengths)), 1)


def test_what_the_window_holds_counts_as_drawn() -> None:
    batches = OrderedBatches(make_table([3, 9, 4, 7, 2, 8, 5, 6, 12, 2]), Order(), Rows(16, lookahead=4), Layout())
    num_trained = 0
    for _ in range(30):
        num_trained += len(batches.next_batch()["example_ids"])
        batches.consumed()
        state = batches.state_dict()
        assert state["stream"]["num_draws"] == num_trained + len(state["packer"]["window"])


def test_position_ids_stay_below_the_row_and_borders_are_not_learned() -> None:
    table = make_table([3, 9, 4, 7, 2, 8, 5, 6, 12, 2])
    batches = OrderedBatches(table, Order(), Rows(max_length=16, lookahead=4), Layout(3))
    for _ in range(10):
        batch = batches.next_batch()
        assert batch["position_ids"].max() < 16
        starts = batch["position_ids"] == 0
        assert starts.sum() == len(batch["doc_lens"])
        assert (batch["labels"][starts] == -100).all()


def run(table: TokenTable, rows: Rows, layout: Layout, order: Order, micros: int) -> list[dict[str, Any]]:
    """Micro batches of a run that tells its order about every step."""
    batches, taken = OrderedBatches(table, order, rows, layout), []
    for micro in range(1, micros + 1):
        taken.append(batches.next_batch())
        batches.consumed()
        step, inside = divmod(micro, layout.gradient_accumulation_steps)
        if not inside:
            ids = joined(batches.rows_of_step(step))
            order.observe(step, ids, [1.0] * len(ids))
    return taken


@pytest.mark.parametrize("packing", ["ordered", "none"])
@pytest.mark.parametrize(
    ("batch", "accumulation", "world"), [(1, 1, 4), (2, 1, 2), (1, 2, 2), (1, 4, 1), (2, 2, 1), (4, 1, 1)]
)
def test_ranks_and_accumulation_split_the_same_rows(batch: int, accumulation: int, world: int, packing: Any) -> None:
    table = make_table(np.random.default_rng(1).integers(2, 16, 50).tolist())
    rows, steps = Rows(max_length=16, lookahead=6, packing=packing), 8
    one = run(table, rows, Layout(4), Pacing(50), steps)
    per_rank = [
        run(table, rows, Layout(batch, accumulation, world, rank), Pacing(50), steps * accumulation)
        for rank in range(world)
    ]
    for step in range(steps):
        parts = [per_rank[r][step * accumulation + m] for m in range(accumulation) for r in range(world)]
        assert joined(part["example_ids"] for part in parts) == one[step]["example_ids"]
        if packing == "ordered":
            for key in ("input_ids", "labels", "position_ids"):
                assert torch.equal(torch.cat([part[key] for part in parts], dim=1), one[step][key])
            assert joined(part["doc_lens"] for part in parts) == one[step]["doc_lens"]


@settings(max_examples=30)
@given(
    lengths=st.lists(st.integers(2, 16), min_size=2, max_size=30),
    budget=st.integers(16, 40),
    lookahead=st.integers(1, 12),
    accumulation=st.integers(1, 3),
    packing=st.sampled_from(["ordered", "none"]),
    paced=st.booleans(),
)
def test_resumed_at_any_micro_batch_the_run_goes_on_as_if_unbroken(
    lengths: list[int], budget: int, lookahead: int, accumulation: int, packing: Any, paced: bool
) -> None:
    def make_order() -> Order:
        return Pacing(len(lengths)) if paced else Order()

    table, micros = make_table(lengths), 8
    rows = Rows(max_length=budget, lookahead=lookahead, packing=packing)
    layout = Layout(gradient_accumulation_steps=accumulation)
    whole = run(table, rows, layout, make_order(), micros)

    batches = OrderedBatches(table, make_order(), rows, layout)
    for cut in range(micros):
        assert_same(batches.next_batch(), whole[cut])
        saved = json.loads(json.dumps(batches.state_dict()))  # the batch drawn is not trained on: it must not show
        resumed = OrderedBatches(table, make_order(), rows, layout)
        resumed.load_state_dict(saved)
        assert_same(resumed.next_batch(), whole[cut])
        if cut % 2:
            batches = resumed  # go on from a resume of a resume
        batches.consumed()
        if (cut + 1) % accumulation == 0:
            step = whole[cut + 1 - accumulation : cut + 1]
            ids = joined(batch["example_ids"] for batch in step)
            batches.order.observe((cut + 1) // accumulation, ids, [1.0] * len(ids))


def assert_same(batch: dict[str, Any], expected: dict[str, Any]) -> None:
    assert batch.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(batch[key], value) if isinstance(value, torch.Tensor) else batch[key] == value


def test_resume_may_change_how_a_step_is_split() -> None:
    """A run of 1 process with accumulation 4 goes on as 2 processes with 2 rows each, row for row."""
    table = make_table(np.random.default_rng(2).integers(2, 16, 50).tolist())
    rows = Rows(max_length=16, lookahead=6)
    one = OrderedBatches(table, Order(), rows, Layout(1, 4))
    for _ in range(8):
        one.next_batch()
        one.consumed()
    state = one.state_dict()
    expected = [one.next_batch()["example_ids"] for _ in range(8)]
    ranks = [OrderedBatches(table, Order(), rows, Layout(2, 1, 2, rank)) for rank in range(2)]
    for rank in ranks:
        rank.load_state_dict(state)
    got = [rank.next_batch()["example_ids"] for _ in range(2) for rank in ranks]
    assert joined(got) == joined(expected)


def test_the_record_of_a_step_is_what_was_trained_on() -> None:
    """Every rank records the rows of all ranks, and together their batches are that record."""
    table = make_table(np.random.default_rng(3).integers(2, 16, 30).tolist())
    rows = Rows(max_length=16, lookahead=6)
    ranks = [OrderedBatches(table, Pacing(30), rows, Layout(2, 3, 2, rank)) for rank in range(2)]
    for step in range(1, 9):
        trained = []
        for _ in range(3):
            for rank in ranks:
                trained += rank.next_batch()["example_ids"]
                rank.consumed()
        records = [rank.rows_of_step(step) for rank in ranks]
        assert records[0] == records[1]
        assert len(records[0]) == 12
        assert joined(records[0]) == trained
