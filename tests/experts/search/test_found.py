"""What a search says of its best weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from curricle.experts.search.config import SearchConfig
from curricle.experts.search.evaluations import Evaluation
from curricle.experts.search.found import Found
from curricle.experts.search.writing import write_found


def found(weights: dict[str, float], **how: Any) -> Found:
    best = Evaluation(weights, {"all": 2.0}, 2.0, 0.1)
    base = Evaluation(dict.fromkeys(weights, 0.0), {"all": 3.0}, 3.0, 0.1)
    return Found(SearchConfig(**how), best, {"base": base}, [base, best], 2.0, 2, "the budget is used up")


@pytest.mark.parametrize(
    ("weights", "how", "names", "line"),
    [
        ({"law": 0.7, "drama": 1.5, "korean": 1.4999}, {}, ["drama", "korean"],
         "drama and korean are at the upper bound 1.5;"),
        ({"law": 1.5, "drama": 1.5, "korean": 1.5}, {}, ["law", "drama", "korean"],
         "law, drama and korean are at the upper"),
        ({"law": 0.0, "drama": 0.4}, {}, ["law"], "law is at the lower bound 0;"),
        ({"law": -1.0, "drama": 2.0}, {"bounds": (-1, 2)}, ["law", "drama"],
         "law is at the lower bound -1, drama is at the upper bound 2;"),
    ],
)  # fmt: skip
def test_weights_at_a_bound_are_named(
    tmp_path: Path, weights: dict[str, float], how: dict[str, Any], names: list[str], line: str
) -> None:
    result = found(weights, **how)
    assert result.at_bound == names
    assert line in str(result)
    assert "wider `bounds` may be better" in str(result)
    write_found(result, tmp_path, {"all": 5})
    assert json.loads((tmp_path / "weights.json").read_text())["at_bound"] == names


@pytest.mark.parametrize(
    ("weights", "how"),
    [({"law": 0.01, "drama": 1.49}, {}), ({"law": 1.0, "drama": 0.0}, {"normalize": "sum1"})],
)
def test_weights_within_the_bounds_are_not(weights: dict[str, float], how: dict[str, Any]) -> None:
    result = found(weights, **how)
    assert result.at_bound == []
    assert "bound" not in str(result)
