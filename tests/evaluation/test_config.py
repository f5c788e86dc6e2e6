"""What is known of a figure before anything is measured."""

from __future__ import annotations

import pytest

from curricle.evaluation.config import Hits, Loss, Measurement, Perplexity, Range, Rouge, TokenAccuracy
from curricle.evaluation.measure import measure_texts

PERCENT = (0.0, 100.0)


@pytest.mark.parametrize(
    ("entry", "ranges"),
    [
        (Loss(metric="loss"), {"loss": (0.0, None), "loss.perplexity": (1.0, None)}),
        (Perplexity(metric="perplexity"), {"perplexity": (0.0, None), "perplexity.bits_per_byte": (0.0, None)}),
        (TokenAccuracy(metric="token_accuracy", name="right"), {"right": PERCENT}),
        (Hits(metric="hits", k=[1, 5]), {"hits.hits@1": PERCENT, "hits.hits@5": PERCENT}),
    ],
)
def test_every_figure_says_between_what_it_lies(entry: Measurement, ranges: dict[str, Range]) -> None:
    assert entry.ranges() == ranges
    assert list(ranges) == entry.figures()


def test_the_range_goes_with_the_figure() -> None:
    info = measure_texts([Rouge(metric="rouge")], ["a b"], [["a b"]], ["x"]).info()
    assert info["rouge.rouge1"]["range"] == [0.0, 100.0]
    assert info["rouge.sum"]["range"] == [0.0, 300.0]
