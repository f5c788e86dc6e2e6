"""The source's names for order and depth: what an epoch admits, and what its losses change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from curricle import CurriculumConfig, CurriculumTrainingScheduler, LayerSpecificCurriculumScheduler
from curricle.errors import DataError, RecipeError
from curricle.runtime.seeds import numpy_generator

HARD = np.random.default_rng(0).permutation(12).astype(float)


def scheduler(difficulties: Any = HARD, num_epochs: int | None = None, **keys: Any) -> CurriculumTrainingScheduler:
    return CurriculumTrainingScheduler(CurriculumConfig(**keys), difficulties, num_epochs=num_epochs)


def test_a_config_is_written_as_in_the_source_and_checked() -> None:
    config = CurriculumConfig(strategy="layer_wise_progressive", num_stages=3, stage_percentiles=[0.33, 0.66, 1.0])
    assert (config.strategy, config.num_stages, config.stage_percentiles) == (
        "layer_wise_progressive",
        3,
        [0.33, 0.66, 1.0],
    )
    assert CurriculumConfig(strategy="dynamic_pacing").difficulty_step_up == 0.05
    with pytest.raises(RecipeError, match="did you mean `loss_threshold`"):
        CurriculumConfig(loss_treshold=2.0)
    with pytest.raises(RecipeError, match=r"must rise from above 0 to 1\.0"):
        CurriculumConfig(strategy="hybrid", num_stages=2, stage_percentiles=[0.8, 0.9])
    with pytest.raises(RecipeError, match="`strategy` is 'easy'"):
        CurriculumConfig(strategy="easy")


def test_stages_admit_the_easiest_and_open_layers_from_below() -> None:
    plan = scheduler(strategy="layer_wise_progressive")
    admitted = [set(plan.epoch_order(epoch).tolist()) for epoch in range(4)]
    assert [len(one) for one in admitted] == [4, 8, 12, 12]
    assert admitted[0] == set(np.argsort(HARD)[:4].tolist())
    assert admitted[0] < admitted[1] < admitted[2]
    assert [plan.open_layers(epoch, 6) for epoch in range(3)] == [[0, 1], [0, 1, 2, 3], [0, 1, 2, 3, 4, 5]]
    assert plan.gates(0, [3, 1], 6).tolist() == [[True, True, False, False, False, False]] * 2


def test_a_run_of_more_epochs_has_longer_stages() -> None:
    plan = scheduler(strategy="layer_wise_progressive", num_epochs=6)
    assert [len(plan.epoch_order(epoch)) for epoch in range(6)] == [4, 4, 8, 8, 12, 12]


@pytest.mark.parametrize("strategy", ["none", "layer_wise_progressive", "hybrid", "competence", "dynamic_pacing"])
def test_equal_difficulties_are_plain_shuffling_bit_for_bit(strategy: Any) -> None:
    plan = scheduler(np.ones(12), strategy=strategy)
    for epoch in range(3):
        plain = numpy_generator(0, "order", epoch).permutation(12)
        assert plan.epoch_order(epoch).tolist() == plain.tolist()


def test_a_falling_loss_admits_more_and_the_state_says_so() -> None:
    plan = scheduler(strategy="dynamic_pacing", difficulty_step_up=0.25, initial_competence=0.25)
    sizes = [len(plan.epoch_order(0))]
    for epoch, loss in enumerate([3.0, 1.9, 2.1, float("nan"), 1.0], start=1):
        plan.observe(loss)
        sizes.append(len(plan.epoch_order(epoch)))
    assert sizes == [3, 3, 6, 6, 6, 9]
    again = scheduler(strategy="dynamic_pacing", difficulty_step_up=0.25, initial_competence=0.25)
    again.load_state_dict(plan.state_dict())
    assert again.epoch_order(5).tolist() == plan.epoch_order(5).tolist()


def test_each_layer_goes_by_its_own_difference() -> None:
    layers = np.random.default_rng(1).random((20, 4))
    plan = LayerSpecificCurriculumScheduler(layers, stage_percentiles=[0.25, 1.0])
    gates = plan.gates(0.0, range(20), 4)
    assert gates is not None
    for layer in range(4):
        assert set(np.flatnonzero(gates[:, layer])) == set(np.argsort(layers[:, layer])[:5])
    admitted = plan.order.admitted(0.0)
    assert admitted is not None
    assert admitted.tolist() == gates.any(1).tolist()
    assert plan.gates(0.5, range(20), 4) is None


def test_layer_specific_takes_its_layers_from_the_difficulties() -> None:
    given = [{"mean": 0.0, "layers": {"0": float(i), "1": float(-i)}} for i in range(6)]
    plan = scheduler(given, strategy="layer_specific", num_stages=2)
    assert set(plan.epoch_order(0).tolist()) == {0, 1, 2, 3, 4, 5}
    assert plan.gates(0, [0, 5], 2).tolist() == [[True, False], [False, True]]
    with pytest.raises(DataError, match="no difference per layer"):
        scheduler(HARD, strategy="layer_specific")


def test_what_goes_by_steps_is_refused() -> None:
    with pytest.raises(RecipeError, match="goes by steps, not by epochs"):
        scheduler(strategy="self_paced")
    with pytest.raises(RecipeError, match="num_epochs is 0"):
        scheduler(strategy="none", num_epochs=0)
