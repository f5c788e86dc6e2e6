"""Column, own probability and the gate; what is logged of weights; what a section may say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from curricle.weighting import Weighting, WeightingConfig, build_weighting
from curricle.weighting.config import Kind
from curricle.weighting.measures import by_correctness
from flat_tables import flat


def built(kind: Kind, **settings: Any) -> Weighting:
    return build_weighting(WeightingConfig(kind=kind, **settings))


def test_brought_weights_are_taken_as_they_are() -> None:
    tokens = flat([3, 2])
    assert tokens.given_n is not None
    assert torch.equal(built("column")(tokens)[0], tokens.given_n)  # type: ignore[arg-type]
    torch.testing.assert_close(built("column", normalize=True)(tokens)[0], tokens.given_n / tokens.given_n.mean())


def test_the_mean_of_brought_weights_is_logged_whether_rows_have_rewards_or_not() -> None:
    tokens = replace(flat([3, 2]), reward_n=None)
    _, metrics = built("column")(tokens)
    total, count = metrics["weight_mean"]
    assert tokens.given_n is not None
    torch.testing.assert_close(total / count, tokens.given_n.mean())


def test_weights_that_are_all_zero_stay_zero() -> None:
    weights, _ = built("column", normalize=True)(flat([3], given_n=torch.zeros(3)))
    assert weights is not None
    assert weights.tolist() == [0, 0, 0]


def test_own_probability() -> None:
    tokens = flat([3], loss_n=torch.tensor([0.0, 0.6931472, 50.0]))
    weights, _ = built("own_probability")(tokens)
    torch.testing.assert_close(weights, torch.tensor([1.0, 0.5, 0.0]))
    assert not built("own_probability").known_beforehand


def test_the_gate() -> None:
    tokens = flat([2, 1, 1])
    reward = torch.tensor([1.0, 1.0, 0.0, torch.nan])
    weights, _ = built("correct_only")(replace(tokens, reward_n=reward))
    assert weights is not None
    assert weights.tolist() == [1, 1, 0, 0]


def test_mean_weights_of_correct_and_incorrect_rows() -> None:
    tokens = flat([2, 2, 1], reward_n=torch.tensor([1.0, 1, 0, 0, torch.nan]))
    metrics = by_correctness(torch.tensor([1.0, 3, 5, 6, 100]), tokens)
    means = {name: float(total / count) for name, (total, count) in metrics.items()}
    assert means == {"weight_correct": 2.0, "weight_incorrect": 5.5}
    ones = by_correctness(None, tokens)
    assert {name: float(total / count) for name, (total, count) in ones.items()} == dict.fromkeys(means, 1.0)
    assert by_correctness(None, flat([2], reward_n=None)) == {}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kind": "td_error", "clip_min": 5.0}, "clip_min is 5, not below clip_max"),
        ({"kind": "td_error", "terminal": "horizon", "gae_lambda": 0.5}, "errors of one step"),
        ({"kind": "reference_excess"}, "set weighting.reference"),
        ({"kind": "uniform", "control": "shuffled"}, "changes nothing"),
        ({"kind": "correct_only", "control": "shuffled"}, "changes nothing"),
        ({"ratio": 0}, "greater than 0"),
        ({"temperature": 0}, "greater than 0"),
    ],
)
def test_sections_that_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        WeightingConfig.model_validate(settings)
