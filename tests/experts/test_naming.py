"""How an expert is written on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from curricle.errors import RecipeError
from curricle.experts.naming import Named, read_experts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("code=runs/code", Named("code", "runs/code")),
        ("code=runs/code@0.5", Named("code", "runs/code", 0.5)),
        ("a.b-c_1=runs/x=y@-2e-1", Named("a.b-c_1", "runs/x=y", -0.2)),
        ("code=runs/v@2/code@1", Named("code", "runs/v@2/code", 1.0)),
        ("한국어=runs/ko", Named("한국어", "runs/ko")),
    ],
)
def test_read(text: str, expected: Named) -> None:
    assert read_experts([text]) == [expected]


def test_a_path_that_is_there_is_not_cut(tmp_path: Path) -> None:
    (tmp_path / "v@2").mkdir()
    assert read_experts([f"code={tmp_path}/v@2"]) == [Named("code", f"{tmp_path}/v@2")]
    assert read_experts([f"code={tmp_path}/v@2@3"]) == [Named("code", f"{tmp_path}/v@2", 3.0)]


@pytest.mark.parametrize("text", ["runs/code", "=runs/code", "code=", "a/b=runs", "..=runs", "code=@0.5"])
def test_what_is_no_expert(text: str) -> None:
    with pytest.raises(RecipeError, match="an expert is written NAME=PATH or NAME=PATH@WEIGHT"):
        read_experts([text])


@pytest.mark.parametrize("weight", ["half", "nan", "inf", ""])
def test_weights_are_finite_numbers(weight: str) -> None:
    with pytest.raises(RecipeError, match="after the last @ stands the weight, a number"):
        read_experts([f"code=runs/code@{weight}"])


def test_names_are_unique() -> None:
    with pytest.raises(RecipeError, match="two experts are called `a`"):
        read_experts(["a=x", "b=y", "a=z"])
