"""Which layers are open in which stage."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from curricle.curriculum.layers import Depth, StagedLayers, stage_of
from curricle.errors import RecipeError, RunError


def test_the_plain_depth_closes_and_gates_nothing() -> None:
    assert Depth().closed(0.0, 4) == frozenset()
    assert Depth().gates(0.0, [1, 2], 4) is None


@pytest.mark.parametrize(
    ("layers", "opened"),
    [
        ("bottom_up", [[0, 1, 2], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5, 6]]),
        ("top_down", [[4, 5, 6], [2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 5, 6]]),
        ([[3], [0, -1], [1, 2]], [[3], [0, 6], [1, 2]]),
    ],
)
def test_a_stage_opens_the_first_or_last_share_of_layers_rounded_up(layers: Any, opened: list[list[int]]) -> None:
    depth = StagedLayers(layers, 3)
    for stage, expected in enumerate(opened):
        for progress in (stage / 3, stage / 3 + 0.2):
            assert sorted(set(range(7)) - depth.closed(progress, 7)) == expected
    assert sorted(set(range(7)) - depth.closed(1.0, 7)) == opened[-1]


@pytest.mark.parametrize("num_layers", [1, 2, 4, 7, 28, 32])
@pytest.mark.parametrize("num_stages", [1, 3, 4, 5])
@pytest.mark.parametrize("layers", ["bottom_up", "top_down"])
def test_stages_only_add_layers_and_end_with_all(layers: Any, num_stages: int, num_layers: int) -> None:
    depth = StagedLayers(layers, num_stages)
    opened = [depth.open(stage, num_layers) for stage in range(num_stages)]
    assert [len(one) for one in opened] == [-(-num_layers * s // num_stages) for s in range(1, num_stages + 1)]
    assert all(a <= b for a, b in pairwise(opened))
    assert len(opened[-1]) == num_layers


@pytest.mark.parametrize("num_stages", [3, 4, 5, 7])
def test_a_stage_begins_at_its_first_step_however_the_share_is_rounded(num_stages: int) -> None:
    for per_stage in (1, 2, 7, 333):
        steps = num_stages * per_stage
        assert [stage_of(step / steps, num_stages) for step in range(steps)] == [i // per_stage for i in range(steps)]


@pytest.mark.parametrize(
    ("layers", "num_stages", "told"),
    [
        ([], 3, "every stage needs a layer"),
        ([[0], []], 3, "every stage needs a layer"),
        ("top_down", 0, "num_stages is 0"),
    ],
)
def test_a_schedule_that_opens_nothing_is_refused(layers: Any, num_stages: int, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        StagedLayers(layers, num_stages)


@pytest.mark.parametrize("layer", [4, -5])
def test_a_layer_that_is_not_there_is_refused(layer: int) -> None:
    with pytest.raises(RecipeError, match=f"layer {layer}, but the model has 4: 0 to 3"):
        StagedLayers([[layer]]).closed(0.0, 4)


def test_a_state_of_another_depth_is_refused() -> None:
    Depth().load_state_dict({})
    with pytest.raises(RunError, match=r"depth state \(stage\)"):
        Depth().load_state_dict({"stage": 1})
