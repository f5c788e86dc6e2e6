"""The packer against a slow reference, its window, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curricle.data.packing import Packer, pack
from curricle.errors import DataError, RunError

LENGTHS = st.lists(st.integers(1, 20), min_size=1, max_size=60)


def reference_rows(lengths: list[int], budget: int, lookahead: int) -> list[list[int]]:
    """The rule, word for word: the oldest of the window, then again and again the longest (the older of equals)."""
    waiting, window, rows = list(range(len(lengths))), [], []
    while waiting or window:
        while waiting and len(window) < lookahead:
            window.append(waiting.pop(0))
        row = [window.pop(0)]
        while fitting := [i for i in window if lengths[i] <= budget - sum(lengths[j] for j in row)]:
            best = max(fitting, key=lambda i: (lengths[i], -window.index(i)))
            window.remove(best)
            row.append(best)
        rows.append(row)
    return rows


@given(lengths=LENGTHS, budget=st.integers(20, 50), lookahead=st.integers(1, 30))
def test_rows_are_those_of_the_rule(lengths: list[int], budget: int, lookahead: int) -> None:
    rows = pack(np.array(lengths), budget, lookahead)
    assert [rows[r] for r in range(len(rows))] == reference_rows(lengths, budget, lookahead)
    assert rows.stats.num_tokens == sum(lengths)
    assert rows.stats.num_documents == len(lengths)
    assert rows.stats.fill == pytest.approx(sum(lengths) / (len(rows) * budget))


def test_the_drawn_example() -> None:
    rows = pack(np.array([4, 5, 2, 1, 3]), budget=6, lookahead=3)
    assert [rows[r] for r in range(len(rows))] == [[0, 2], [1, 3], [4]]


def test_a_lookahead_of_one_is_no_packing() -> None:
    rows = pack(np.array([1, 1, 1]), budget=100, lookahead=1)
    assert [rows[r] for r in range(len(rows))] == [[0], [1], [2]]


@given(lengths=LENGTHS, budget=st.integers(20, 50), lookahead=st.integers(1, 30), cut=st.integers(0, 60))
def test_resumed_in_the_middle_the_rows_go_on(lengths: list[int], budget: int, lookahead: int, cut: int) -> None:
    examples = iter(range(len(lengths)))
    packer = Packer(np.array(lengths), budget, lookahead)
    before = list(drain(packer, examples, cut))
    saved, left = json.loads(json.dumps(packer.state_dict())), list(examples)
    rest = list(drain(packer, iter(left)))

    again = Packer(np.array(lengths), budget, lookahead)
    again.load_state_dict(saved)
    assert list(drain(again, iter(left))) == rest
    assert again.stats == packer.stats
    assert sorted(chain.from_iterable(before + rest)) == list(range(len(lengths)))


def drain(packer: Packer, examples: Iterator[int], limit: int = 10**9) -> Iterator[list[int]]:
    for _ in range(limit):
        if not (row := packer.next_row(lambda: next(examples, None))):
            return
        yield row


def test_a_window_that_does_not_fit_is_refused() -> None:
    packer = Packer(np.ones(20, dtype=int), budget=2, lookahead=10)
    packer.next_row(iter(range(20)).__next__)
    with pytest.raises(RunError, match=r"holds 8 examples and `data\.lookahead` is 4"):
        Packer(np.ones(20, dtype=int), budget=2, lookahead=4).load_state_dict(packer.state_dict())


def test_what_cannot_be_packed_is_named() -> None:
    with pytest.raises(DataError, match="example 1 has 9 tokens and a row holds 8; no example is split"):
        Packer(np.array([3, 9, 2]), budget=8)
    with pytest.raises(DataError, match="example 2 has no token"):
        Packer(np.array([3, 2, 0]), budget=8)
    with pytest.raises(DataError, match="lookahead` is 0"):
        Packer(np.array([3]), budget=8, lookahead=0)


def test_nothing_to_pack() -> None:
    rows = pack(np.array([], dtype=np.int64), budget=8)
    assert len(rows) == 0
    assert rows.stats.fill == 1.0


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint16])
def test_any_integer_lengths(dtype: type) -> None:
    assert pack(np.array([3, 3, 2], dtype=dtype), budget=8)[0] == [0, 1, 2]
