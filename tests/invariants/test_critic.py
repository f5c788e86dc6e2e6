"""What must hold of any critic, whatever it has learned: its explained variance, and what its values are to come to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from curricle.losses.flat import FlatTokens, last_of_documents
from curricle.training.critic import state_targets
from curricle.training.critic_metrics import moments

RNG = np.random.default_rng(0)
REWARDS = (RNG.random(200) < 0.4).astype(np.float64)
VALUES = np.clip(0.3 * REWARDS + 0.7 * RNG.random(200), 0, 1)


def test_a_perfect_critic_explains_all_and_a_constant_one_nothing() -> None:
    assert moments(REWARDS, REWARDS).explained_variance == 1.0
    assert moments(np.full(200, REWARDS.mean()), REWARDS).explained_variance == pytest.approx(0.0, abs=1e-12)
    assert moments(np.full(200, 7.0), REWARDS).explained_variance == pytest.approx(0.0, abs=1e-9)
    assert moments(1 - REWARDS, REWARDS).explained_variance == pytest.approx(-3.0)


def test_explained_variance_is_its_definition_in_any_order() -> None:
    expected = 1 - np.var(REWARDS - VALUES) / np.var(REWARDS)
    order = RNG.permutation(200)
    assert moments(VALUES, REWARDS).explained_variance == pytest.approx(expected, rel=1e-12)
    assert moments(VALUES[order], REWARDS[order]).explained_variance == pytest.approx(expected, rel=1e-12)


def documents(truncated: bool = False) -> FlatTokens:
    """Three documents of 3, 1 and 4 learned tokens, in double precision."""
    doc_n = torch.tensor([0, 0, 0, 1, 2, 2, 2, 2])
    value_t = torch.rand(8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    after_n = torch.where(last_of_documents(doc_n), torch.full((8,), 0.9, dtype=torch.float64), value_t.roll(-1))
    return FlatTokens(
        target_n=doc_n,
        doc_n=doc_n,
        position_n=doc_n,
        last_n=last_of_documents(doc_n),
        truncated_n=doc_n == 2 if truncated else None,
        reward_n=torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)[doc_n],
        before_n=value_t,
        after_n=after_n,
    )


def test_with_lambda_1_the_target_is_the_reward() -> None:
    tokens = documents()
    assert tokens.reward_n is not None
    assert torch.equal(state_targets(tokens, 1.0, 1.0), tokens.reward_n)


def test_with_lambda_0_the_target_is_the_next_value_and_the_reward_at_the_end() -> None:
    tokens = documents()
    value = tokens.before_n
    assert value is not None
    expected = torch.stack([value[1], value[2], torch.tensor(1.0), torch.tensor(0.0), *value[5:], torch.tensor(1.0)])
    torch.testing.assert_close(state_targets(tokens, 1.0, 0.0), expected.double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("lambda_", [0.3, 0.95])
@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_targets_are_the_recursion_of_td_lambda(gamma: float, lambda_: float) -> None:
    """G_k = gamma ((1 - lambda) V(s_k) + lambda G_{k+1}), and the reward at the end: one document after the other."""
    tokens = documents()
    assert tokens.before_n is not None
    assert tokens.reward_n is not None
    expected = torch.zeros(8, dtype=torch.float64)
    for start, stop in ((0, 3), (3, 4), (4, 8)):
        expected[stop - 1] = tokens.reward_n[stop - 1]
        for k in range(stop - 2, start - 1, -1):
            expected[k] = gamma * ((1 - lambda_) * tokens.before_n[k + 1] + lambda_ * expected[k + 1])
    torch.testing.assert_close(state_targets(tokens, gamma, lambda_), expected, rtol=0, atol=1e-12)


def test_a_document_that_was_cut_never_learns_its_reward() -> None:
    target_n = state_targets(documents(truncated=True), 1.0, 1.0)
    torch.testing.assert_close(target_n[4:], torch.full((4,), 0.9, dtype=torch.float64), rtol=0, atol=1e-12)
    assert target_n[:4].tolist() == [1.0, 1.0, 1.0, 0.0]
