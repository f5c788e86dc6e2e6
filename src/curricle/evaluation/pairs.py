"""Answers and what they are compared with: one list of references for each prediction, checked once for all metrics."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import DataError


def check_pairs(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Raise a `DataError` for what no metric of texts can work on."""
    if len(predictions) != len(references):
        raise DataError(
            f"{len(predictions)} predictions and {len(references)} lists of references: each prediction needs one list"
        )
    if not predictions:
        raise DataError("no predictions: a metric of texts needs at least one")
    for i, (prediction, texts) in enumerate(zip(predictions, references, strict=True)):
        if not isinstance(prediction, str):
            raise DataError(f"prediction {i} is {type(prediction).__name__}, not a text")
        if isinstance(texts, str):
            raise DataError(f"the references of prediction {i} are one text; give a list of texts, such as [{texts!r}]")
        if not texts:
            raise DataError(f"prediction {i} has no reference; give at least one, or leave the row out")
        for text in texts:
            if not isinstance(text, str):
                raise DataError(f"a reference of prediction {i} is {type(text).__name__}, not a text")
