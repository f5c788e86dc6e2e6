"""How good a critic is: figures against their definitions, and over parts as over the whole."""

from __future__ import annotations

import math

import numpy as np
import pytest

from curricle.data.table import TokenTable
from curricle.models.likelihood import TokenValues
from curricle.training.critic_metrics import BINS, Moments, auc, calibration_error, judge_values, moments

RNG = np.random.default_rng(0)
REWARDS = (RNG.random(200) < 0.4).astype(np.float64)
VALUES = np.clip(0.3 * REWARDS + 0.7 * RNG.random(200), 0, 1)


def test_parts_add_up_to_the_whole_and_their_mean_does_not() -> None:
    """Also where a part has one reward only, which alone explains nothing."""
    order = np.argsort(REWARDS, kind="stable")
    parts = [moments(VALUES[part], REWARDS[part]) for part in np.array_split(order, 5)]
    whole = moments(VALUES, REWARDS).explained_variance
    assert sum(parts, Moments()).explained_variance == pytest.approx(whole, rel=1e-12)
    alone = [part.explained_variance for part in parts]
    assert any(map(math.isnan, alone))
    assert abs(np.nanmean(alone) - whole) > 0.01


def test_equal_rewards_have_nothing_to_explain() -> None:
    assert math.isnan(moments(VALUES, np.ones(200)).explained_variance)
    assert math.isnan(Moments().explained_variance)
    assert math.isnan(Moments().brier)


def test_auc_is_the_share_of_pairs_in_order() -> None:
    values = np.round(VALUES, 1)  # with ties
    good, bad = values[REWARDS == 1], values[REWARDS == 0]
    pairs = (good[:, None] > bad).mean() + 0.5 * (good[:, None] == bad).mean()
    assert auc(values, REWARDS) == pytest.approx(pairs, rel=1e-12)
    assert auc(REWARDS, REWARDS) == 1.0
    assert auc(np.zeros(200), REWARDS) == 0.5
    assert math.isnan(auc(VALUES, np.ones(200)))


def test_calibration_is_the_gap_in_each_bin() -> None:
    expected = 0.0
    for low in range(BINS):
        inside = [i for i in range(200) if low == min(int(VALUES[i] * BINS), BINS - 1)]
        if inside:
            expected += len(inside) / 200 * abs(VALUES[inside].mean() - REWARDS[inside].mean())
    assert calibration_error(VALUES, REWARDS) == pytest.approx(expected, rel=1e-12)
    assert calibration_error(REWARDS, REWARDS) == 0.0
    assert calibration_error(np.array([-1.0, 3.0]), np.array([0.0, 1.0])) == 1.5  # outside of [0, 1]: the outer bins


def test_a_table_is_judged_at_all_states_and_at_last_decisions() -> None:
    documents = [[4, 5, 6], [4, 5], [4, 5, 6, 7]]
    table = TokenTable.from_lists(documents, [[-100, *d[1:]] for d in documents], rewards=[1.0, 0.0, None])
    values = np.array([0.2, 0.9, 0.4, 0.1, 0.1, 0.1])
    found = judge_values(TokenValues(values, np.array([0, 2, 3, 6])), table)
    rewards = np.array([1.0, 1.0, 0.0])
    assert found["explained_variance"] == pytest.approx(1 - np.var(rewards - values[:3]) / np.var(rewards))
    assert found["value_auc"] == 1.0
    assert found["value_brier"] == pytest.approx((0.1**2 + 0.4**2) / 2)
    assert found["value_ece"] == pytest.approx((0.1 + 0.4) / 2)
    assert (found["value_correct"], found["value_incorrect"]) == (0.9, 0.4)
