"""METHODS 7, emergence: of a token's probability that grows evenly, exact match jumps, and the later the longer the
answer; a jump of log-loss itself is seen."""

from __future__ import annotations

import math

import numpy as np
import pytest

from curricle.planning.metric import JUMP, Scale, judge, unevenness

SCALES = np.logspace(7, 13, 25)


def of_length(length: int, loss: np.ndarray) -> list[Scale]:
    """Answers of so many tokens under a loss a token."""
    pairs = zip(SCALES.tolist(), loss.tolist(), strict=True)
    return [Scale(scale, 100, each, math.exp(-each * length), None) for scale, each in pairs]


POWER_LAW = (SCALES / 1e9) ** -0.4


@pytest.mark.parametrize("length", [5, 20, 100])
def test_exact_match_jumps_where_log_loss_is_even(length: int) -> None:
    plan = judge(of_length(length, POWER_LAW))
    assert plan.pass_jump is not None
    assert plan.pass_jump >= JUMP
    assert plan.loss_jump == pytest.approx(1.0)
    assert "the jump is the metric's" in plan.verdict


def test_the_elbow_moves_with_the_length() -> None:
    """p^L is a half where the loss is ln 2 / L, which a power law reaches at L^(1 / 0.4) times the scale."""
    elbows = [
        float(np.interp(0.5, [each.expected for each in of_length(length, POWER_LAW)], np.log(SCALES)))
        for length in (1, 4, 16)
    ]
    assert np.diff(elbows) == pytest.approx([math.log(4) / 0.4] * 2, abs=0.15)


def test_a_jump_of_the_loss_is_the_models() -> None:
    loss = np.where(SCALES < 1e10, 2.0, 0.05)
    plan = judge(of_length(5, loss))
    assert "log-loss does too" in plan.verdict


def test_answers_of_one_token_show_none() -> None:
    assert "no jump" in judge(of_length(1, np.linspace(0.7, 0.1, 25))).verdict


def test_unevenness() -> None:
    assert unevenness([0.0, 1.0, 4.0], [0.0, 1.0, 4.0]) == pytest.approx(1.0)
    assert unevenness([0.0, 1.0, 2.0, 3.0], [0.0, 0.0, 1.0, 1.0]) == pytest.approx(3.0)
    assert unevenness([0.0, 1.0], [0.3, 0.3]) is None
