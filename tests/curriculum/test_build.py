"""Every strategy by its name, its controls, and what the data make impossible."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from curricle.curriculum.build import Facts, build_order
from curricle.curriculum.config import CurriculumConfig
from curricle.curriculum.mixes import Mixed
from curricle.curriculum.order import Order
from curricle.curriculum.pacing import Easiest
from curricle.errors import RecipeError

N = 40
LENGTHS = np.random.default_rng(1).integers(5, 60, N)
DIFFICULTY = np.random.default_rng(0).integers(1, 8, N).astype(np.float32)
STAGED: dict[str, Any] = {
    "strategy": "staged_mix",
    "difficulty_bins": {"low": [1, 3], "high": [6, 7]},
    "difficulty_schedule": [
        {"epoch_range": [0, 0.5], "difficulty_weights": {"low": 0.9, "high": 0.1}},
        {"epoch_range": [0.5, 1], "difficulty_weights": {"low": 0.2, "high": 0.5, "unknown": 0.3}},
    ],
}
STRATEGIES: list[dict[str, Any]] = [
    {"strategy": "none"},
    {"strategy": "easy_to_hard"},
    {"strategy": "layer_wise_progressive"},
    {"strategy": "dynamic_pacing"},
    {"strategy": "hybrid"},
    {"strategy": "competence"},
    {"strategy": "self_paced"},
    {"strategy": "length_ramp", "length_schedule": [[0.2, 20], [0.5, 40]]},
    {"strategy": "quality_ramp"},
    {"strategy": "domain_ramp", "shares": {"web": 1}, "final_shares": {"web": 0.2, "code": 0.8}},
    {"strategy": "domains_in_turn"},
    {"strategy": "static_mix", "shares": {"web": 0.5, "code": 0.5}},
    STAGED,
]


def facts(**changes: Any) -> Facts:
    told: list[str] = []
    given = {"lengths_n": LENGTHS, "num_steps": 20, "seed": 3, "difficulty_n": DIFFICULTY, "tell": told.append}
    domains = np.arange(N, dtype=np.int32) % 2
    return Facts(**{**given, "domains_n": domains, "domain_names": ["web", "code"], **changes})


def build(keys: dict[str, Any], **changes: Any) -> Order:
    return build_order(CurriculumConfig.model_validate({"labels": "l.parquet", **keys}), facts(**changes))


@pytest.mark.parametrize("keys", STRATEGIES, ids=lambda keys: keys["strategy"])
def test_each_strategy_is_built_and_admits_something_all_along(keys: dict[str, Any]) -> None:
    order = build(keys)
    for step in range(20):
        mask = order.admitted(step / 20)
        assert mask is None or mask.any()
    assert (type(order) is Order) == (keys["strategy"] == "none")


@pytest.mark.parametrize("strategy", ["layer_wise_progressive", "competence", "hybrid", "quality_ramp"])
def test_a_random_curriculum_admits_as_many_but_others(strategy: str) -> None:
    told, random = build({"strategy": strategy}), build({"strategy": strategy, "control": "random_curriculum"})
    differ = False
    for step in range(20):
        a, b = told.admitted(step / 20), random.admitted(step / 20)
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            assert a.sum() == b.sum()
            differ |= bool((a != b).any())
    assert differ


def test_a_random_length_ramp_admits_as_many_but_others() -> None:
    keys = {"strategy": "length_ramp", "length_schedule": [[0.5, 30]]}
    a, b = build(keys).admitted(0.0), build({**keys, "control": "random_curriculum"}).admitted(0.0)
    assert a is not None
    assert b is not None
    assert a.sum() == b.sum()
    assert (a != b).any()


def test_the_random_deal_follows_the_seed() -> None:
    keys = {"strategy": "competence", "control": "random_curriculum"}
    first, again, other = build(keys), build(keys), build(keys, seed=4)
    assert isinstance(first, Easiest)
    assert isinstance(again, Easiest)
    assert isinstance(other, Easiest)
    assert (first.num_easier == again.num_easier).all()
    assert (first.num_easier != other.num_easier).any()


def test_an_anti_curriculum_begins_with_the_hardest() -> None:
    mask = build({"strategy": "layer_wise_progressive", "control": "anti_curriculum"}).admitted(0.0)
    assert mask is not None
    assert DIFFICULTY[mask].min() >= DIFFICULTY[~mask].max()


def test_lengths_that_never_come_are_counted() -> None:
    told: list[str] = []
    build({"strategy": "length_ramp", "length_schedule": [[0.5, 20], [1.0, 30]]}, tell=told.append)
    assert told == [f"curriculum: {(LENGTHS > 30).sum()} of 40 examples are longer than the run ever admits (30)"]


def test_unknown_difficulty_has_its_own_bin() -> None:
    difficulty = DIFFICULTY.copy()
    difficulty[:3] = np.nan
    order = build(STAGED, difficulty_n=difficulty)
    assert isinstance(order, Mixed)
    assert order.names == ["low", "high", "unknown"]
    assert (order.groups[:3] == 2).all()
    assert (order.groups[DIFFICULTY == 5] == 2).all()


@pytest.mark.parametrize(
    ("keys", "changes", "told"),
    [
        ({"strategy": "competence"}, {"difficulty_n": None}, "goes by labels, and none were given"),
        ({"strategy": "length_ramp", "length_schedule": [[0.5, 3]]}, {}, "nothing could be drawn"),
        ({"strategy": "static_mix", "shares": {"web": 1}}, {"domain_names": []}, "name the column of domains"),
        ({"strategy": "static_mix", "shares": {"web": 0.5, "coed": 0.5}}, {}, "the mix names `coed`"),
        (STAGED, {"difficulty_n": np.full(N, 5.0)}, "at progress 0.000 the mix draws from low 0.9, high 0.1"),
        ({**STAGED, "difficulty_bins": {"low": [1, 3], "high": [8, 9]}}, {"difficulty_n": DIFFICULTY}, None),
    ],
)
def test_what_the_data_make_impossible(keys: dict[str, Any], changes: dict[str, Any], told: str | None) -> None:
    if told is None:
        build(keys, **changes)  # an empty bin alone is no mistake: the others take its share over
        return
    with pytest.raises(RecipeError, match=told):
        build(keys, **changes)
