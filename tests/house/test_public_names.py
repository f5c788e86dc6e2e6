"""The public surface changes on purpose only: it equals a committed list."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import curricle

COMMITTED = (Path(__file__).parent / "public_names.txt").read_text(encoding="utf-8").split()


def test_all_is_the_committed_list() -> None:
    assert list(curricle.__all__) == COMMITTED == sorted(COMMITTED)


def test_what_is_visible_is_what_is_public() -> None:
    assert set(dir(curricle)) == set(COMMITTED)


def test_a_type_checker_sees_the_same_names() -> None:
    """Lazy names are named three times in the file: for people (`__all__`), for Python, and for type checkers."""
    tree = ast.parse(Path(curricle.__file__).read_text(encoding="utf-8"))
    [for_checkers] = [node for node in tree.body if isinstance(node, ast.If)]
    homes = {alias.name: node.module for node in for_checkers.body for alias in node.names}
    assert homes == curricle._HOMES
    assert set(homes) == set(COMMITTED)


@pytest.mark.parametrize("name", COMMITTED)
def test_each_name_is_there_and_explained(name: str) -> None:
    assert (getattr(curricle, name).__doc__ or "").strip()


def test_a_name_that_is_not_there_gets_a_hint() -> None:
    with pytest.raises(AttributeError, match="did you mean `CurricleError`"):
        curricle.CuricleError  # noqa: B018
