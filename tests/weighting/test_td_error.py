"""Errors and advantages against a loop over tokens, and the source's own example."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from curricle.errors import TrainingError
from curricle.losses.flat import FlatTokens
from curricle.weighting.td_error import TDError, advantages, exponential_weights, td_errors
from flat_tables import flat

LENGTHS = [1, 4, 7, 2, 16]


def by_loop(tokens: FlatTokens, gamma: float, lam: float) -> list[float]:
    """The definition, token by token, from the end of each document."""
    before, after, reward = (getattr(tokens, name).tolist() for name in ("before_n", "after_n", "reward_n"))
    doc = tokens.doc_n.tolist()
    cut = [False] * len(doc) if tokens.truncated_n is None else tokens.truncated_n.tolist()
    found = [0.0] * len(doc)
    for k in reversed(range(len(doc))):
        last = k + 1 == len(doc) or doc[k + 1] != doc[k]
        if not last:
            error = gamma * before[k + 1] - before[k]
        elif cut[k] or math.isnan(reward[k]):
            error = gamma * after[k] - before[k]
        else:
            error = reward[k] - before[k]
        found[k] = error + (0.0 if last else gamma * lam * found[k + 1])
    return found


@pytest.mark.parametrize("gamma", [1.0, 0.9])
@pytest.mark.parametrize("lam", [0.0, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("cut", [False, True])
def test_advantages_are_those_of_the_loop(gamma: float, lam: float, cut: bool) -> None:
    tokens = flat(LENGTHS)
    if cut:
        nan = torch.where(tokens.doc_n == 4, torch.nan, tokens.reward_n)
        tokens = replace(tokens, truncated_n=tokens.doc_n % 2 == 1, reward_n=nan)
    found = advantages(td_errors(tokens, gamma), tokens.doc_n, gamma * lam)
    expected = torch.tensor(by_loop(tokens, gamma, lam), dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_the_drawn_example() -> None:
    tokens = flat([4], before_n=torch.tensor([0.5, 0.6, 0.2, 0.4]), after_n=torch.tensor([0.6, 0.2, 0.4, 0.9]))
    torch.testing.assert_close(td_errors(tokens), torch.tensor([0.1, -0.4, 0.2, 0.6]))
    cut = replace(tokens, truncated_n=torch.ones(4, dtype=torch.bool))
    torch.testing.assert_close(td_errors(cut)[-1], torch.tensor(0.5))


@pytest.mark.parametrize(("error", "weight"), [(-1.0, 0.3292), (0.0, 1.0), (1.0, 3.0377)])
def test_golden_weights_at_the_source_temperature(error: float, weight: float) -> None:
    """METHODS 10.2: within [-1, 1] the clips of 0.1 and 5 never bind."""
    found = exponential_weights(torch.tensor([error], dtype=torch.float64), 0.9)
    assert found.item() == pytest.approx(weight, abs=5e-5)


@pytest.mark.parametrize(("error", "low", "high"), [(-2.071, 0, 0), (-2.073, 1, 0), (1.448, 0, 0), (1.449, 0, 1)])
def test_clips_bind_where_the_value_has_left_its_range(error: float, low: int, high: int) -> None:
    tokens = flat([1], before_n=torch.tensor([1.0 - error], dtype=torch.float64))
    weights, metrics = TDError()(tokens)
    assert weights is not None
    assert 0.1 <= weights.item() <= 5.0
    assert (int(metrics["weight_clipped_low"][0]), int(metrics["weight_clipped_high"][0])) == (low, high)


def test_mean_one() -> None:
    weights, _ = TDError(normalize=True)(flat(LENGTHS))
    plain, _ = TDError()(flat(LENGTHS))
    assert weights is not None
    assert plain is not None
    torch.testing.assert_close(weights, plain / plain.mean())


def test_the_horizon_of_one_head_is_the_reward_less_the_value() -> None:
    tokens = flat(LENGTHS)
    assert tokens.reward_n is not None
    weights, _ = TDError(terminal="horizon")(tokens)
    torch.testing.assert_close(weights, ((tokens.reward_n - tokens.before_n) / 0.9).exp().clamp(0.1, 5.0))


def test_the_horizon_of_several_heads_depends_on_the_head() -> None:
    tokens, weighting = flat(LENGTHS), TDError(terminal="horizon")
    weighting.num_heads = 3
    weights, _ = weighting(tokens)
    assert weights is not None
    assert tokens.before_n is not None
    assert weights.shape == (len(tokens), 3)
    inner, last = tokens.after_n - tokens.before_n, tokens.reward_n - tokens.before_n
    for head, error_n in enumerate((inner, inner, last)):
        torch.testing.assert_close(weights[:, head], (error_n / 0.9).exp().clamp(0.1, 5.0).to(weights.dtype))


def test_half_precision_values_are_summed_in_float32() -> None:
    tokens = flat([64])
    assert tokens.before_n is not None
    half = replace(tokens, before_n=tokens.before_n.bfloat16())
    assert advantages(td_errors(half), half.doc_n, 1.0).dtype == torch.float32


def test_without_a_critic_one_line_says_so() -> None:
    with pytest.raises(TrainingError, match="td_error needs the values of a critic"):
        TDError()(flat([3], before_n=None))


def test_an_empty_table() -> None:
    weights, _ = TDError(gae_lambda=0.9, normalize=True)(flat([0]))
    assert weights is not None
    assert weights.shape == (0,)
