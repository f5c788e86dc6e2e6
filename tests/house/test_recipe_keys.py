"""The keys of a recipe are a promise: the committed list changes together with the changelog, never by accident."""

from __future__ import annotations

from pathlib import Path

from curricle.experiments.keys import all_keys
from curricle.experiments.recipe import Recipe

COMMITTED = Path(__file__).parent / "recipe_keys.txt"


def test_keys_are_the_committed_list() -> None:
    assert sorted(all_keys(Recipe)) == COMMITTED.read_text(encoding="utf-8").splitlines()
