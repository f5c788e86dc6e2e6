"""Trees laid over one another."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curricle.errors import RecipeError
from curricle.experiments.overrides import differences, overlay, put, read_sets
from curricle.experiments.resolve import resolve

LEAVES = st.one_of(st.integers(0, 3), st.text("ab", max_size=2), st.lists(st.integers(0, 2), max_size=2), st.none())
TREES = st.recursive(LEAVES, lambda inner: st.dictionaries(st.sampled_from("xyz"), inner, max_size=3), max_leaves=8)
MAPPINGS = st.dictionaries(st.sampled_from("xyz"), TREES, max_size=3)


@given(MAPPINGS, MAPPINGS, MAPPINGS)
def test_overlay_laws(a: dict[str, Any], b: dict[str, Any], c: dict[str, Any]) -> None:
    assert overlay(a, {}) == overlay({}, a) == overlay(a, a) == a
    both = overlay(a, b)
    assert overlay(both, b) == both, "what is written last holds"
    assert set(both) == set(a) | set(b)
    if not _mapping_over_leaf(a, b) and not _mapping_over_leaf(b, c):
        assert overlay(both, c) == overlay(a, overlay(b, c))


def _mapping_over_leaf(under: dict[str, Any], over: dict[str, Any]) -> bool:
    """Order of merging matters only where a leaf stands between two mappings."""
    shared = [(under[key], over[key]) for key in set(under) & set(over)]
    return any(
        isinstance(a, dict) != isinstance(b, dict) or (isinstance(a, dict) and _mapping_over_leaf(a, b))
        for a, b in shared
    )


def test_overlay_leaves_its_parts_alone() -> None:
    under, over = {"a": {"x": 1}}, {"a": {"y": 2}}
    assert overlay(under, over) == {"a": {"x": 1, "y": 2}}
    assert (under, over) == ({"a": {"x": 1}}, {"a": {"y": 2}})


def test_sets() -> None:
    tree, places = read_sets(["training.max_steps=60", "data.train=[a, b#5]", "model.adapter={lora_r: 8}", "a.b=x=y"])
    assert tree == {
        "training": {"max_steps": 60},
        "data": {"train": ["a", "b#5"]},
        "model": {"adapter": {"lora_r": 8}},
        "a": {"b": "x=y"},
    }
    assert str(places["training", "max_steps"]) == "--set training.max_steps=60"
    assert read_sets(["a=1", "a=2"])[0] == {"a": 2}


def test_a_mistake_beside_an_override_has_its_own_name() -> None:
    given = {"model": {"name_or_path": "m"}, "data": {"train": "a"}, "selection": {"average": 5}}
    with pytest.raises(RecipeError, match=r"^--set training.max_steps=60: `training.save_total_limit` is 2, and"):
        resolve(given, ["training.max_steps=60"])


def test_a_value_has_no_keys() -> None:
    with pytest.raises(RecipeError, match=r"`a\.b` is 3, which has no keys of its own"):
        put({"a": {"b": 3}}, ("a", "b", "c"), 1, "--set a.b.c=1")
    with pytest.raises(RecipeError, match="no keys of its own"):
        read_sets(["a=1", "a.b=2"])


def test_differences() -> None:
    old = {"data": {"max_length": 512, "train": ["a"]}, "gone": 1}
    new = {"data": {"max_length": 1024, "train": ["a"]}, "new": None, "more": 2}
    assert list(differences(old, new)) == [
        "`data.max_length` was 512, is 1024",
        "`gone` was 1, is None",
        "`more` was None, is 2",
    ]
