"""Names and changes of the arms that a grid makes."""

from __future__ import annotations

from typing import Any

import pytest

from curricle.errors import RecipeError
from curricle.experiments.arms import expand
from curricle.experiments.document import Place
from curricle.experiments.recipe import folder_name


def arms(tree: dict[str, Any]) -> dict[str, Any]:
    return {name: changes for name, changes, _ in expand(tree, {})}


def test_no_arms_is_one() -> None:
    assert arms({}) == {"base": {}}
    assert arms({"arms": {}}) == {"base": {}}


def test_a_grid_alone() -> None:
    found = arms({"grid": {"a.rate": [1e-5, 0.5], "b.rate": [1, True], "c": ["x/y", "z", {"k": 1}, None]}})
    assert len(found) == 16
    names = list(found)
    assert names[0] == "a.rate=1e-05+b.rate=1+c=v0", (
        "keys as long as they must be, a value that is no name by its number"
    )
    assert {name.rpartition("+")[2] for name in names} == {"c=v0", "c=z", "c=v2", "c=none"}
    assert found["a.rate=0.5+b.rate=true+c=z"] == {"a": {"rate": 0.5}, "b": {"rate": True}, "c": "z"}
    for name in names:
        folder_name(name)


def test_values_that_look_alike_keep_apart() -> None:
    assert list(arms({"grid": {"a": ["1", 1]}})) == ["a=v0", "a=v1"]
    assert list(arms({"grid": {"a": [0.1, 0.10000001]}})) == ["a=0.1", "a=0.10000001"]


def test_a_grid_over_arms() -> None:
    found = arms({"arms": {"x": {"a": {"b": 1}}, "y": {}}, "grid": {"a.c": [1, 2]}})
    assert found["x+c=2"] == {"a": {"b": 1, "c": 2}}
    assert list(found) == ["x+c=1", "x+c=2", "y+c=1", "y+c=2"]


def test_places_of_changes() -> None:
    places = {
        ("arms", "x"): Place("r.yaml", 3, "arms.x"),
        ("arms", "x", "a"): Place("r.yaml", 4, "arms.x.a"),
        ("grid", "b.c"): Place("r.yaml", 6, "grid.b.c"),
    }
    [(_, _, written)] = expand({"arms": {"x": {"a": 1}}, "grid": {"b.c": [1]}}, places)
    assert {key: place.line for key, place in written.items()} == {(): 3, ("a",): 4, ("b",): 6, ("b", "c"): 6}


def test_a_grid_does_not_overrule_an_arm() -> None:
    with pytest.raises(RecipeError, match=r"both set `a\.b`"):
        arms({"arms": {"x": {"a": {"b": 1}}}, "grid": {"a.b": [1]}})
