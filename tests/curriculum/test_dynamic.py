"""The controller: when more is admitted, when less, and when nothing happens."""

from __future__ import annotations

import json

import numpy as np
import pytest

from curricle.curriculum.dynamic import DynamicPacing, Hybrid, Pace

HUNDRED = np.arange(100, dtype=np.float32)


def shares(order: DynamicPacing, losses: list[float]) -> list[float]:
    found = []
    for step, loss in enumerate(losses, start=1):
        order.observe(step, [0], [loss])
        found.append(order.share(0.0))
    return found


def test_steps_up_while_the_loss_is_below_and_holds_in_the_band() -> None:
    order = DynamicPacing(HUNDRED, Pace(decay=0.0, step_down=0.05))
    assert shares(order, [2.3, 1.9, 1.8, 2.1, 2.19, 2.3, 1.0]) == [0.2, 0.25, 0.3, 0.3, 0.3, 0.25, 0.3]


def test_never_below_where_it_began_nor_above_all() -> None:
    order = DynamicPacing(HUNDRED, Pace(decay=0.0, step_down=0.5, step_up=0.3))
    assert shares(order, [9.0, 1.0, 1.0, 1.0, 1.0, 9.0, 9.0]) == [0.2, 0.5, 0.8, 1.0, 1.0, 0.5, 0.2]
    assert order.admitted(0.0) is not None


def test_without_a_step_down_what_is_admitted_stays() -> None:
    assert shares(DynamicPacing(HUNDRED, Pace(decay=0.0)), [1.0, 9.0, 9.0]) == [0.25, 0.25, 0.25]


def test_patience_asks_for_steps_in_a_row() -> None:
    order = DynamicPacing(HUNDRED, Pace(decay=0.0, patience=2))
    assert shares(order, [1.0, 3.0, 1.0, 1.0, 1.0, 1.0]) == [0.2, 0.2, 0.2, 0.25, 0.25, 0.3]


def test_the_loss_is_a_running_mean() -> None:
    order = DynamicPacing(HUNDRED, Pace(decay=0.9))
    assert shares(order, [3.0, 0.0, 0.0, 0.0]) == [0.2, 0.2, 0.2, 0.2]  # 3, 2.7, 2.43, 2.187
    assert shares(order, [0.0]) == [0.25]  # 1.968


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_a_relative_threshold_needs_no_scale(scale: float) -> None:
    order = DynamicPacing(HUNDRED, Pace(relative_threshold=0.9, decay=0.0))
    assert shares(order, [scale * loss for loss in (5.0, 4.8, 4.4, 4.4, 4.2, 3.9)]) == [0.2, 0.2, 0.25, 0.25, 0.25, 0.3]


def test_hybrid_never_passes_its_stage() -> None:
    order = Hybrid(HUNDRED, [0.3, 0.6, 1.0], Pace(decay=0.0, step_up=0.5))
    order.observe(1, [0], [1.0])
    assert [order.share(progress) for progress in (0.0, 0.4, 0.9)] == [0.3, 0.6, 0.7]


def test_state_goes_through_json_and_metrics_tell() -> None:
    order = DynamicPacing(HUNDRED, Pace(patience=3, step_down=0.05))
    shares(order, [1.0, 1.5, 3.0, 0.2])
    again = DynamicPacing(HUNDRED, Pace(patience=3, step_down=0.05))
    again.load_state_dict(json.loads(json.dumps(order.state_dict())))
    later = [1.0, 0.5, 9.0, 9.0, 9.0, 9.0, 1.0]
    assert shares(again, later) == shares(order, later)
    order.admitted(0.0)
    assert order.metrics()["competence"] == order.share(0.0)
    assert order.metrics()["admitted_share"] == pytest.approx(order.share(0.0))
