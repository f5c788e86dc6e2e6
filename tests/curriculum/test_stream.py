"""Passes, arrangements, counts, and a state that brings back the queue bit for bit."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curricle.curriculum.order import Ids, Mask, Order
from curricle.curriculum.pool import WeightedPool
from curricle.curriculum.stream import Stream
from curricle.errors import RecipeError, RunError
from curricle.runtime.seeds import numpy_generator


class Stages(Order):
    """Admits the examples of `stages[k]` in the k-th part of the run."""

    def __init__(self, num_examples: int, stages: list[list[int]]) -> None:
        self.masks = []
        for stage in stages:
            mask = np.zeros(num_examples, dtype=bool)
            mask[stage] = True
            self.masks.append(mask)

    def admitted(self, progress: float) -> Mask | None:
        return self.masks[min(int(progress * len(self.masks)), len(self.masks) - 1)]


def take(stream: Stream, num: int, progress: float = 0.0) -> list[int]:
    return [stream.draw(progress) for _ in range(num)]


@pytest.mark.parametrize("order", [Order(), Stages(50, [list(range(50))])], ids=["none", "all ones"])
def test_with_everything_admitted_passes_are_plain_shuffles_bit_for_bit(order: Order) -> None:
    pool = np.arange(50)
    stream = Stream(order, pool, seed=3)
    for p in range(4):
        assert take(stream, 50) == numpy_generator(3, "order", p).permutation(pool).tolist()


def test_slots_of_the_pool_are_drawn_once_a_pass_each() -> None:
    pool = np.array([0, 1, 1, 2, 2, 2])
    stream = Stream(Order(), pool, seed=0)
    for p in range(3):
        assert sorted(take(stream, 6)) == pool.tolist()
        assert stream.num_passes == p
    assert stream.draws().tolist() == [3, 6, 9]
    assert (stream.num_draws, stream.num_repeats) == (18, 15)


def test_newly_admitted_join_the_current_pass() -> None:
    stream = Stream(Stages(10, [[0, 1, 2, 3], list(range(10))]), np.arange(10), seed=1)
    before = take(stream, 3)
    rest = take(stream, 7, progress=0.5)
    assert sorted(before + rest) == list(range(10))
    assert stream.num_passes == 0
    assert stream.num_repeats == 0
    remaining = np.array([i for i in range(10) if i not in before])
    assert rest == numpy_generator(1, "order", 0, 1).permutation(remaining).tolist()


def test_no_longer_admitted_leave_the_current_pass_at_once() -> None:
    stream = Stream(Stages(10, [list(range(10)), [7, 8, 9]]), np.arange(10), seed=1)
    before = take(stream, 4)
    left = [i for i in (7, 8, 9) if i not in before]
    assert sorted(take(stream, len(left), progress=0.5)) == left
    assert sorted(take(stream, 3, progress=0.5)) == [7, 8, 9]
    assert stream.num_passes == 1


def test_copies_not_yet_drawn_survive_a_new_arrangement() -> None:
    pool = np.array([0, 0, 0, 1, 1, 2])
    stream = Stream(Stages(3, [[0, 1], [0, 1, 2]]), pool, seed=5)
    assert sorted(take(stream, 2) + take(stream, 4, progress=0.5)) == pool.tolist()


def test_an_order_that_admits_nothing_is_named() -> None:
    stream = Stream(Stages(4, [[0], []]), np.arange(4), seed=0)
    take(stream, 2)
    with pytest.raises(RecipeError, match=r"`Stages` admits none of the 4 examples at progress 0\.500"):
        stream.draw(0.5)


def test_admitting_only_what_the_pool_leaves_out_is_admitting_nothing() -> None:
    with pytest.raises(RecipeError, match="admits none"):
        Stream(Stages(4, [[3]]), np.array([0, 1, 2]), seed=0).draw(0.0)


@pytest.mark.parametrize("mask", [np.ones(3, dtype=bool), np.ones(4), np.ones((4, 1), dtype=bool)])
def test_a_mask_of_the_wrong_shape_or_type_is_refused(mask: Any) -> None:
    order = Order()
    order.admitted = lambda progress: mask  # type: ignore[method-assign]
    with pytest.raises(RecipeError, match="one bool for each of the 4 examples"):
        Stream(order, np.arange(4), seed=0).draw(0.0)


def test_an_arrangement_that_loses_examples_is_refused() -> None:
    class Loses(Order):
        def arrange(self, ids: Ids, rng: np.random.Generator) -> Ids:
            return ids[1:]

    with pytest.raises(RecipeError, match=r"`Loses\.arrange` got 4 examples and gave 3"):
        Stream(Loses(), np.arange(4), seed=0).draw(0.0)


def test_an_empty_pool_is_refused() -> None:
    with pytest.raises(RecipeError, match="training set is empty"):
        Stream(Order(), np.arange(0), seed=0)


def test_the_order_may_reuse_its_mask() -> None:
    """What was admitted is copied: an order that changes its array in place is seen to have changed."""

    class InPlace(Order):
        def __init__(self) -> None:
            self.mask = np.zeros(4, dtype=bool)

        def admitted(self, progress: float) -> Mask:
            self.mask[: 1 + int(progress * 3)] = True
            return self.mask

    stream = Stream(InPlace(), np.arange(4), seed=0)
    assert take(stream, 1) == [0]
    assert take(stream, 1, progress=0.4) == [1]
    assert take(stream, 1, progress=0.7) == [2]
    assert take(stream, 1, progress=1.0) == [3]
    assert stream.num_passes == 0


@given(
    num_examples=st.integers(1, 12),
    copies=st.integers(1, 3),
    stages=st.lists(st.sets(st.integers(0, 11), min_size=1), min_size=1, max_size=4),
    num_before=st.integers(0, 40),
    seed=st.integers(0, 5),
)
def test_a_loaded_stream_goes_on_bit_for_bit(
    num_examples: int, copies: int, stages: list[set[int]], num_before: int, seed: int
) -> None:
    order = Stages(num_examples, [sorted({i % num_examples for i in stage}) for stage in stages])
    pool = np.repeat(np.arange(num_examples, dtype=np.int32), copies)
    steps = [t / 60 for t in range(60)]
    stream = Stream(order, pool, seed)
    drawn = [stream.draw(t) for t in steps[:num_before]]
    saved = json.loads(json.dumps(stream.state_dict()))
    rest = [stream.draw(t) for t in steps[num_before:]]

    again = Stream(order, pool, seed)
    again.load_state_dict(saved)
    assert [again.draw(t) for t in steps[num_before:]] == rest
    counts = Counter(drawn + rest)
    assert again.draws().tolist() == [counts[i] for i in range(num_examples)]
    assert again.num_draws == 60
    assert again.num_repeats == 60 - len(counts)


@given(stages=st.lists(st.sets(st.integers(0, 7), min_size=1), min_size=1, max_size=5), num=st.integers(1, 80))
def test_within_a_pass_nothing_is_drawn_twice_and_only_the_admitted(stages: list[set[int]], num: int) -> None:
    order = Stages(8, [sorted(stage) for stage in stages])
    stream = Stream(order, np.arange(8), seed=2)
    in_pass: dict[int, list[int]] = {}
    for t in range(num):
        example = stream.draw(t / num)
        assert order.admitted(t / num)[example]
        in_pass.setdefault(stream.num_passes, []).append(example)
    assert all(len(set(drawn)) == len(drawn) for drawn in in_pass.values())


def test_a_snapshot_shares_the_arrays_and_is_not_moved_by_later_draws() -> None:
    stream = Stream(Order(), np.arange(1000), seed=0)
    take(stream, 10)
    first, rest = stream.snapshot(), take(stream, 500)
    second = stream.snapshot()
    assert first.queue is second.queue
    assert first.at_pass is second.at_pass
    again = Stream(Order(), np.arange(1000), seed=0)
    again.load_state_dict(first.to_json())
    assert take(again, 500) == rest


def test_the_saved_state_of_a_plain_pass_is_small() -> None:
    stream = Stream(Order(), np.arange(100_000, dtype=np.int32), seed=0)
    take(stream, 12_345)
    assert len(json.dumps(stream.state_dict())) < 10_000


def test_other_data_or_another_arrangement_is_refused_on_resume() -> None:
    stream = Stream(Order(), np.arange(10), seed=0)
    take(stream, 5)
    with pytest.raises(RunError, match="over 10 examples and the data now has 11"):
        Stream(Order(), np.arange(11), seed=0).load_state_dict(stream.state_dict())
    with pytest.raises(RunError, match="labels, source weights or seed have changed"):
        Stream(Order(), np.arange(10), seed=1).load_state_dict(stream.state_dict())


@pytest.mark.parametrize("weights", [(1.0, 0.5), (2.5, 0.3)])
@pytest.mark.parametrize("num_before", [0, 3, 17, 40, 63])
def test_a_stream_over_weighted_sources_goes_on_bit_for_bit(weights: tuple[float, ...], num_before: int) -> None:
    """Each pass has slots of its own; a resume finds those of its pass, also after a new arrangement."""
    sources = np.array([0] * 4 + [1] * 7)
    order = Stages(11, [list(range(0, 11, 2)), list(range(11))])

    def made() -> Stream:
        return Stream(order, WeightedPool(sources, weights, seed=4), seed=4)

    stream = made()
    for t in range(num_before):
        stream.draw(t / 80)
    saved = json.loads(json.dumps(stream.state_dict()))
    rest = [stream.draw(t / 80) for t in range(num_before, 80)]
    again = made()
    again.load_state_dict(saved)
    assert [again.draw(t / 80) for t in range(num_before, 80)] == rest
    assert (again.num_repeats, again.draws().tolist()) == (stream.num_repeats, stream.draws().tolist())


def test_a_pass_draws_its_own_slots() -> None:
    pool = WeightedPool(np.array([0] * 4 + [1] * 7), (1.0, 0.5), seed=4)
    stream = Stream(Order(), pool, seed=4)
    for p in range(5):
        assert sorted(take(stream, len(pool))) == pool.slots(p).tolist()
    assert set(np.flatnonzero(stream.draws())) == set(range(11))


def test_what_only_a_later_pass_draws_may_be_admitted_alone() -> None:
    pool = WeightedPool(np.zeros(4, dtype=int), (0.5,), seed=0)
    [left_out, _] = sorted(set(range(4)) - set(pool.slots(0).tolist()))
    assert take(Stream(Stages(4, [[left_out]]), pool, seed=0), 2) == [left_out] * 2
