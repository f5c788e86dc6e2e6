"""Scores by hand, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata

from curricle.difficulty.scores import normalized, scores
from curricle.errors import DataError

LAYERS = np.array([[1.0, 2.0, 3.0, 6.0], [0.0, 4.0, 0.0, 0.0]], dtype=np.float32)
IDS = ["a", "b"]


def test_by_hand() -> None:
    found = scores(LAYERS, IDS, top_k=2, normalize="none")
    assert found["mean"].tolist() == [3, 1]
    assert found["max"].tolist() == [6, 4]
    assert found["topk_mean"].tolist() == [4.5, 2]
    assert found["weighted_mean"] == pytest.approx([(1 + 4 + 9 + 24) / 10, 0.8])


def test_own_weights() -> None:
    assert scores(LAYERS, IDS, weights=[0, 0, 0, 1], normalize="none")["weighted_mean"].tolist() == [6, 0]
    with pytest.raises(DataError, match="3 weights for 4 layers"):
        scores(LAYERS, IDS, weights=[1, 1, 1])


def test_normalizing() -> None:
    values = np.random.default_rng(0).lognormal(size=(50, 3)).astype(np.float32) * np.array(
        [1, 100, 1e-3], dtype=np.float32
    )
    zscores = normalized(values, "zscore")
    np.testing.assert_allclose(zscores.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(zscores.std(0), 1, atol=1e-9)
    np.testing.assert_allclose(normalized(values, "rank"), (rankdata(values, axis=0) - 1) / 49)


def test_a_layer_that_never_differs_says_nothing() -> None:
    assert scores(np.ones((4, 3), dtype=np.float32), list("abcd"))["max"].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_no_number_is_refused_with_its_example(bad: float) -> None:
    layers = np.zeros((3, 4), dtype=np.float32)
    layers[1, 2] = bad
    with pytest.raises(DataError, match=r"example `b` has (nan|inf) as its difference at layer 3 \(1 of 3"):
        scores(layers, list("abc"))
