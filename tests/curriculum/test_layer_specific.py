"""Each layer's own ranks, limits and gates."""

from __future__ import annotations

import numpy as np
import pytest

from curricle.curriculum.layer_specific import AnyLayer, LayerPace, LayerSpecific, layer_ranks, matched_layers
from curricle.curriculum.layers import StagedLayers
from curricle.curriculum.pacing import Stages
from curricle.curriculum.stream import Stream
from curricle.errors import RecipeError, RunError

HALVES = LayerPace((0.5, 1.0))
# The table of the module's own documentation: examples a, b, c, d.
RANKS = np.array([[0, 2], [1, 0], [2, 1], [3, 3]], dtype=np.int32)


def test_ranks_are_of_each_layer_by_itself_and_ties_come_together() -> None:
    differences = np.array([[1.0, 40.0], [5.0, 20.0], [3.0, 30.0], [3.0, 10.0]], dtype=np.float32)
    assert layer_ranks(differences).tolist() == [[0, 3], [3, 1], [1, 2], [1, 0]]


def test_ranks_know_the_order_of_differences_and_not_their_size() -> None:
    differences = np.random.default_rng(0).gamma(2.0, size=(50, 3))
    np.testing.assert_array_equal(layer_ranks(differences), layer_ranks(np.exp(differences) * [1, 1e3, 1e-3]))


def test_a_document_teaches_the_layers_that_admit_it() -> None:
    depth = LayerSpecific(RANKS, HALVES)
    gates = depth.gates(0.0, [3, 0, 1, 2], 2)
    assert gates is not None
    assert gates.tolist() == [[False, False], [True, False], [True, True], [False, True]]
    assert depth.gates(0.5, [3, 0], 2) is None
    assert depth.closed(0.0, 2) == frozenset()


def test_only_what_some_layer_admits_is_drawn() -> None:
    order = AnyLayer(RANKS, HALVES)
    admitted = order.admitted(0.0)
    assert admitted is not None
    assert admitted.tolist() == [True, True, True, False]
    assert order.admitted(0.6) is None
    stream = Stream(order, np.arange(4), seed=0)
    assert {stream.draw(0.0) for _ in range(6)} == {0, 1, 2}
    assert {stream.draw(0.5) for _ in range(4)} >= {3}


def test_admission_is_nested_in_time_for_every_layer() -> None:
    ranks = layer_ranks(np.random.default_rng(1).normal(size=(100, 5)))
    depth, examples = LayerSpecific(ranks, LayerPace((0.2, 0.6, 1.0), delay=0.4)), list(range(100))
    seen = np.zeros((100, 5), dtype=bool)
    for progress in np.linspace(0, 1, 31):
        gates = depth.gates(float(progress), examples, 5)
        gates = np.ones((100, 5), dtype=bool) if gates is None else gates
        assert (seen <= gates).all()
        seen = gates
    assert seen.all()


@pytest.mark.parametrize("num", [3, 100, 997])
def test_a_stage_admits_its_share_of_every_layer(num: int) -> None:
    ranks = layer_ranks(np.random.default_rng(2).normal(size=(num, 4)))
    gates = LayerSpecific(ranks, LayerPace((2 / 3, 1.0))).gates(0.0, range(num), 4)
    assert gates is not None
    assert gates.sum(axis=0).tolist() == [-(-num * 2 // 3)] * 4


def test_with_a_delay_upper_layers_follow_later_and_all_arrive() -> None:
    pace = LayerPace((0.5, 1.0), delay=0.5)
    assert pace.shares(0.0, 3) == (0.5, 0.5, 0.5)
    assert pace.shares(0.25, 3) == (1.0, 0.5, 0.5)
    assert pace.shares(0.5, 3) == (1.0, 1.0, 0.5)
    assert pace.shares(0.75, 3) == pace.shares(1.0, 3) == (1.0, 1.0, 1.0)
    assert LayerPace((0.5, 1.0), delay=0.5).shares(0.1, 1) == (0.5,)


def test_layers_are_matched_by_relative_depth_and_it_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    for num_layers, num_labels in [(28, 28), (28, 32), (12, 28), (1, 7), (7, 1)]:
        places = matched_layers(num_layers, num_labels)
        assert (np.diff(places) >= 0).all()
        assert places[-1] == num_labels - 1
        assert places[0] >= 0
    assert matched_layers(28, 28).tolist() == list(range(28))
    depth = LayerSpecific(RANKS, HALVES)
    gates = depth.gates(0.0, [0, 2], 4)
    assert gates is not None
    assert gates.tolist() == [[True, True, False, False], [False, False, True, True]]
    depth.gates(0.0, [0], 4)
    assert capsys.readouterr().err.count("the labels hold 2 layers and the model 4") == 1


def test_every_layer_admits_what_a_staged_order_of_its_labels_would() -> None:
    differences = np.random.default_rng(3).integers(0, 20, size=(90, 4)).astype(np.float32)
    percentiles = [0.33, 0.66, 1.0]
    gates = LayerSpecific(layer_ranks(differences), LayerPace(percentiles)).gates(0.4, range(90), 4)
    assert gates is not None
    for layer in range(4):
        np.testing.assert_array_equal(gates[:, layer], Stages(differences[:, layer], percentiles).admitted(0.4))


def test_a_resumed_run_goes_by_the_labels_it_began_with() -> None:
    for kind in (AnyLayer, LayerSpecific):
        state = kind(RANKS, HALVES).state_dict()
        kind(RANKS.copy(), HALVES).load_state_dict(state)
        for other in (state, {}):
            with pytest.raises(RunError, match="not those of the checkpoint"):
                kind(RANKS[::-1].copy(), HALVES).load_state_dict(other)


def test_whole_layers_can_be_closed_besides() -> None:
    assert LayerSpecific(RANKS, HALVES, StagedLayers("bottom_up", 2)).closed(0.0, 2) == {1}


@pytest.mark.parametrize("percentiles", [(), (0.0, 1.0), (0.5, 0.9), (0.6, 0.5, 1.0)])
def test_percentiles_that_do_not_rise_to_one_are_refused(percentiles: tuple[float, ...]) -> None:
    with pytest.raises(RecipeError, match="must rise from above 0 to 1"):
        LayerPace(percentiles)


@pytest.mark.parametrize("delay", [-0.1, 1.0])
def test_a_delay_of_the_whole_run_is_refused(delay: float) -> None:
    with pytest.raises(RecipeError, match=r"layer_delay is"):
        LayerPace(delay=delay)
