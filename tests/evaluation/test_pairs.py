"""What no metric of texts can work on is said in one line."""

from __future__ import annotations

from typing import Any

import pytest

from curricle.errors import DataError
from curricle.evaluation.bleu import bleu, chrf
from curricle.evaluation.rouge import rouge


@pytest.mark.parametrize("metric", [rouge, bleu, chrf])
@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        (["a", "b"], [["a"]], "2 predictions and 1 lists of references"),
        ([], [], "no predictions"),
        (["a", "b"], [["a"], []], "prediction 1 has no reference"),
        (["a"], ["a"], r"such as \['a'\]"),
        (["a", None], [["a"], ["b"]], "prediction 1 is NoneType"),
        (["a", "b"], [["a"], ["b", 3]], "a reference of prediction 1 is int"),
    ],
)
def test_one_line(metric: Any, predictions: Any, references: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        metric(predictions, references)
    assert "\n" not in str(error.value)
