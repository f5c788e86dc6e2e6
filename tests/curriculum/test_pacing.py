"""Sorted passes, stages and growing competence, one by one."""

from __future__ import annotations

import numpy as np
import pytest

from curricle.curriculum.pacing import Competence, Easiest, EasyToHard, Stages
from curricle.curriculum.ranks import num_easier, percentile_ranks, under_control
from curricle.runtime.seeds import numpy_generator


def test_ranks_count_the_strictly_easier() -> None:
    assert num_easier(np.array([2.0, 0.5, 2.0, 9.0])).tolist() == [1, 0, 1, 3]
    assert percentile_ranks(np.array([2.0, 0.5, 2.0, 9.0])).tolist() == [0.25, 0.0, 0.25, 0.75]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_ranks_are_those_of_a_search(dtype: type) -> None:
    """Ties, both zeros, negatives and infinities, counted one by one."""
    values = np.random.default_rng(0).normal(size=3000).round(2)
    values[:4] = 0.0, -0.0, 1e9, -1e9
    values = (values * 100).astype(dtype)
    if dtype is np.float32:
        values[4:7] = np.inf, -np.inf, 1e-40
    assert num_easier(values).tolist() == np.searchsorted(np.sort(values), values, side="left").tolist()
    assert num_easier(values[:0]).tolist() == []


def test_a_value_that_is_no_number_counts_as_hard_whatever_its_sign() -> None:
    values = np.array([np.nan, 3.0, -np.nan, -1.0], dtype=np.float32)
    ranks = num_easier(values)
    assert ranks[[3, 1]].tolist() == [0, 1]
    assert (ranks[[0, 2]] >= 2).all()


@pytest.mark.parametrize("num_left", [5000, 1234])
def test_sorted_passes_are_drawn_in_the_plain_way(num_left: int) -> None:
    """A permutation, then a stable sort by bucket: what the fast arrangement must give, place for place."""
    difficulty = np.random.default_rng(0).normal(size=5000).round(2).astype(np.float32)
    ids = np.sort(np.random.default_rng(1).permutation(5000)[:num_left]).astype(np.int32)
    shuffled = numpy_generator(3, "x").permutation(ids)
    easier = np.searchsorted(np.sort(difficulty), difficulty, side="left")
    bucket = easier[shuffled] // -(-5000 // 71)
    arranged = EasyToHard(difficulty).arrange(ids, numpy_generator(3, "x"))
    assert arranged.tolist() == shuffled[np.argsort(bucket, kind="stable")].tolist()


def test_a_pass_goes_from_easy_to_hard_in_shuffled_buckets() -> None:
    difficulty = np.random.default_rng(0).permutation(100)
    order = EasyToHard(difficulty)
    rng = numpy_generator(0, "x")
    first, second = (difficulty[order.arrange(np.arange(100), rng)] for _ in range(2))
    for taken in (first, second):
        assert [sorted(taken[start : start + 10]) for start in range(0, 100, 10)] == np.arange(100).reshape(
            10, 10
        ).tolist()
    assert first.tolist() != second.tolist()


def test_one_bucket_an_example_is_a_sort_however_many() -> None:
    """The product of a rank and a number of buckets would not fit into 32 bits here."""
    num = 60_000
    difficulty = np.random.default_rng(0).permutation(num)
    order = EasyToHard(difficulty, num_buckets=num)
    assert (difficulty[order.arrange(np.arange(num), numpy_generator(0, "x"))] == np.arange(num)).all()


def test_copies_survive_sorting() -> None:
    ids = np.array([3, 1, 1, 0, 3])
    arranged = EasyToHard(np.array([5.0, 4.0, 3.0, 2.0]), 4).arrange(ids, numpy_generator(0, "x"))
    assert arranged.tolist() == [3, 3, 1, 1, 0]


def test_a_stage_is_an_equal_part_of_the_run() -> None:
    order = Stages(np.arange(100), [0.33, 0.66, 1.0])
    assert [order.share(step / 9) for step in range(9)] == [0.33] * 3 + [0.66] * 3 + [1.0] * 3
    assert order.admitted(0.0).sum() == 33  # type: ignore[union-attr]
    assert order.metrics() == {"admitted_share": 0.33, "mean_difficulty": 0.16, "stage": 1.0}
    assert order.admitted(0.9) is None
    assert order.metrics()["stage"] == 3.0


def test_the_same_share_gives_the_same_mask_which_nobody_can_write_to() -> None:
    order = Competence(np.arange(1000), full_at=1.0)
    first = order.admitted(0.30000)
    assert first is order.admitted(0.30001)
    assert first is not order.admitted(0.5)
    with pytest.raises(ValueError, match="read-only"):
        first[0] = False  # type: ignore[index]


def test_what_a_step_was_trained_on_has_a_difficulty_of_its_own() -> None:
    assert Easiest(np.arange(10)).metrics_of([0, 1, 9]) == {"step_difficulty": pytest.approx(1 / 3)}


def test_controls() -> None:
    values = np.array([1.0, 5.0, 5.0, 9.0])
    dealt = under_control(values, "random_curriculum", seed=1)
    assert sorted(dealt) == sorted(values)
    assert num_easier(under_control(values, "anti_curriculum", seed=1)).tolist() == [3, 1, 1, 0]
    assert under_control(values, None, seed=1) is values
