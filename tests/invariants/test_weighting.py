"""METHODS 10.1, 10.2 and 10.4: what must hold of weightings, whatever the numbers are."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import support
from curricle.data.rows import Rows
from curricle.losses import flatten, keep_mask, token_losses, weighted_loss
from curricle.losses.flat import FlatTokens, last_of_documents
from curricle.losses.future import futures
from curricle.models.head import HeadTap, supervised_losses
from curricle.models.likelihood import token_losses_of
from curricle.weighting import Uniform, Weighting
from curricle.weighting.reference_excess import ReferenceExcess
from curricle.weighting.td_error import TDError, advantages, td_errors
from flat_tables import flat

LENGTHS = [1, 2, 5, 11, 3]


def reward_and_first(tokens: FlatTokens) -> tuple[Tensor, Tensor]:
    first = last_of_documents(tokens.doc_n).roll(1)
    assert tokens.reward_n is not None
    assert tokens.before_n is not None
    return tokens.reward_n[first], tokens.before_n[first]


# --- errors (10.1) ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_errors_of_a_document_add_up_to_the_reward_less_the_first_value(seed: int) -> None:
    tokens = flat(LENGTHS, seed)
    sums = torch.zeros(len(LENGTHS), dtype=torch.float64).index_add(0, tokens.doc_n, td_errors(tokens))
    reward, first = reward_and_first(tokens)
    torch.testing.assert_close(sums, reward - first, rtol=0, atol=1e-12)


def test_a_value_that_is_the_reward_makes_every_weight_one() -> None:
    tokens = flat(LENGTHS)
    told = replace(tokens, before_n=tokens.reward_n, after_n=tokens.reward_n)
    assert torch.equal(td_errors(told), torch.zeros(len(told), dtype=torch.float64))
    for lam in (0.0, 0.95, 1.0):
        weights, _ = TDError(gae_lambda=lam)(told)
        assert torch.equal(weights, torch.ones(len(told), dtype=torch.float64))  # type: ignore[arg-type]


def test_lambda_one_is_the_reward_less_the_value() -> None:
    tokens = flat(LENGTHS)
    assert tokens.reward_n is not None
    found = advantages(td_errors(tokens), tokens.doc_n, 1.0)
    torch.testing.assert_close(found, tokens.reward_n - tokens.before_n, rtol=0, atol=1e-12)


def test_lambda_zero_is_the_error_itself() -> None:
    tokens = flat(LENGTHS)
    assert advantages(td_errors(tokens), tokens.doc_n, 0.0) is not None
    assert torch.equal(advantages(td_errors(tokens), tokens.doc_n, 0.0), td_errors(tokens))


def test_one_token_has_the_reward_less_its_value() -> None:
    tokens = flat([1])
    reward, first = reward_and_first(tokens)
    torch.testing.assert_close(td_errors(tokens), reward - first)


def test_the_order_of_documents_changes_nothing() -> None:
    tokens = flat([4, 4, 4])
    turned = torch.arange(12).view(3, 4).flip(0).flatten()
    names = ("target_n", "position_n", "loss_n", "before_n", "after_n", "reward_n", "reference_n")
    other = replace(tokens, **{name: getattr(tokens, name)[turned] for name in names})
    for lam in (0.0, 0.9):
        own = advantages(td_errors(tokens), tokens.doc_n, lam)
        assert torch.equal(own[turned], advantages(td_errors(other), other.doc_n, lam))


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_and_what_lies_behind_the_end_never_count(side: str) -> None:
    """Weights from a padded batch are those of its rows alone, whatever the values at padding are."""
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(4, 90, (length,), generator=generator) for length in (9, 5, 7)]
    value = [torch.rand(len(row), generator=generator, dtype=torch.float64) for row in rows]
    reward = [1.0, 0.0, 1.0]

    def weights(labels_bt: Tensor, mask_bt: Tensor, value_bt: Tensor, rewards: list[float]) -> Tensor:
        keep_bt = keep_mask(labels_bt)
        tokens = flatten(labels_bt, keep_bt, {"attention_mask": mask_bt})
        told = replace(
            tokens,
            before_n=value_bt[keep_bt],
            after_n=value_bt[keep_bt.roll(1, 1)],
            reward_n=torch.tensor(rewards, dtype=torch.float64)[tokens.doc_n],
        )
        found, _ = TDError(gae_lambda=0.9)(told)
        assert found is not None
        return found

    alone = []
    for row, own, r in zip(rows, value, reward, strict=True):
        labels = row.clone()[None]
        labels[:, :2] = -100
        alone.append(weights(labels, torch.ones_like(labels), own[None], [r]))
    width = 12
    labels_bt, mask_bt = torch.full((3, width), -100), torch.zeros(3, width, dtype=torch.long)
    value_bt = torch.full((3, width), 1e3, dtype=torch.float64)
    for b, (row, own) in enumerate(zip(rows, value, strict=True)):
        place = slice(width - len(row), width) if side == "left" else slice(0, len(row))
        labels_bt[b, place], mask_bt[b, place], value_bt[b, place] = row, 1, own
        labels_bt[b, place.start : place.start + 2] = -100
    together = weights(labels_bt, mask_bt, value_bt, reward)
    # The value after a document's end is used by nobody: the next position of a right-padded row holds 1000.
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-12)


def test_a_token_has_one_weight_whatever_head_looks_at_it() -> None:
    """A later head's targets are rows of the first one's table: their weights are gathered, not made again."""
    labels = torch.tensor([[-100, -100, 7, 8, 9, -100, 5, 6]])
    positions = torch.tensor([[0, 1, 2, 3, 4, 0, 1, 2]])
    keep = keep_mask(labels)
    tokens = flatten(labels, keep, {"position_ids": positions})
    values = torch.rand(2, len(tokens), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    told = replace(tokens, before_n=values[0], after_n=values[1], reward_n=torch.ones(len(tokens)))
    weights, _ = TDError()(told)
    assert weights is not None
    for head in futures(keep, tokens, 3):
        gathered = weights[head.row_n]
        by_token = {(int(d), int(p)): w for d, p, w in zip(tokens.doc_n, tokens.position_n, weights, strict=True)}
        named = zip(tokens.doc_n[head.row_n], tokens.position_n[head.row_n], strict=True)
        assert gathered.tolist() == [by_token[int(d), int(p)] for d, p in named]


# --- weights (10.2) --------------------------------------------------------------------------------------------------


def test_a_calibrated_critic_does_not_filter_incorrect_rows_at_lambda_zero() -> None:
    """10.2: the errors of an incorrect row add up to -V(s_0), spread over its tokens, so its weights are near 1. Only
    lambda towards 1 damps the row, and never below exp(-1 / temperature)."""
    length, start = 200, 0.5
    before = torch.linspace(start, 0.0, length, dtype=torch.float64)
    row = flat([length], before_n=before, reward_n=torch.zeros(length, dtype=torch.float64))
    mean = {}
    for lam in (0.0, 0.95, 1.0):
        weights, _ = TDError(gae_lambda=lam)(row)
        assert weights is not None
        mean[lam] = weights.mean().item()
    logs = td_errors(row) / 0.9
    assert logs.mean().item() == pytest.approx(-start / (0.9 * length), abs=1e-12)
    assert mean[0.0] > 0.99
    assert math.exp(-1 / 0.9) < mean[1.0] < mean[0.95] < mean[0.0]


def head(num: int = 40, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(num, 16, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(31, 16, generator=generator, dtype=torch.float64, requires_grad=True)
    return hidden, weight, torch.randint(0, 31, (num,), generator=generator)


def measured(weights: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """The weighted sum, and its gradients."""
    hidden, weight, targets = head()
    total, _ = weighted_loss(hidden, weight, targets, weights)
    total.backward()
    assert hidden.grad is not None
    assert weight.grad is not None
    return total.detach(), hidden.grad, weight.grad


def test_weights_of_one_change_no_bit() -> None:
    for own, other in zip(measured(None), measured(torch.ones(40, dtype=torch.float64)), strict=True):
        assert torch.equal(own, other)


def test_a_common_factor_scales_loss_and_gradients() -> None:
    weights = torch.rand(40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for own, scaled in zip(measured(weights), measured(4 * weights), strict=True):
        assert torch.equal(4 * own, scaled)


def test_a_token_of_weight_zero_sends_no_gradient() -> None:
    weights = torch.ones(40, dtype=torch.float64)
    weights[::3] = 0
    _, hidden_grad, _ = measured(weights)
    assert (hidden_grad[::3] == 0).all()
    assert (hidden_grad[1::3] != 0).any(1).all()


class _OfValues(Weighting):
    """td_error on values that could take a gradient."""

    known_beforehand = False

    def __init__(self, value: Tensor) -> None:
        self.value = value

    def __call__(self, tokens: FlatTokens) -> tuple[Tensor | None, dict[str, Any]]:
        num = len(tokens)
        told = replace(tokens, before_n=self.value[:num], after_n=self.value[1 : num + 1], reward_n=torch.ones(num))
        return TDError(gae_lambda=0.5)(told)


def test_no_gradient_goes_through_weights() -> None:
    model, value = support.model(), torch.rand(64, requires_grad=True)
    ids = torch.arange(4, 24)[None]
    with HeadTap(model) as tap:
        result = supervised_losses(model, {"input_ids": ids}, ids, tap, _OfValues(value))
    result.loss_sum.backward()
    assert value.grad is None
    assert result.weights_n is not None
    assert not result.weights_n.requires_grad


def test_masked_positions_change_nothing() -> None:
    model = support.model()
    ids = torch.arange(4, 16)[None]
    labels = ids.clone()
    labels[:, :6] = -100
    weights = torch.rand(6, generator=torch.Generator().manual_seed(0))

    def loss(given: Tensor) -> float:
        class Brought(Uniform):
            def __call__(self, tokens: FlatTokens) -> tuple[Tensor | None, dict[str, Any]]:
                return given, {}

        with HeadTap(model) as tap, torch.no_grad():
            return float(supervised_losses(model, {"input_ids": ids}, labels, tap, Brought()).loss_sum)

    with torch.no_grad():
        logits = model(ids).logits[0, 5:-1].double()
    expected = (torch.nn.functional.cross_entropy(logits, ids[0, 6:], reduction="none") * weights).sum()
    assert loss(weights) == pytest.approx(float(expected), rel=1e-5)


# --- Rho-1 (10.4) ----------------------------------------------------------------------------------------------------


def test_all_of_the_tokens_are_the_plain_loss_bit_for_bit() -> None:
    hidden, weight, targets = head()
    loss = token_losses(hidden, weight, targets)
    tokens = flat([40], loss_n=loss.detach())
    weights, metrics = ReferenceExcess(ratio=1.0)(tokens)
    assert weights is not None
    assert torch.equal((loss * weights).sum(), loss.sum())
    assert int(metrics["weight_selected"][0]) == 40


@pytest.mark.parametrize("ratio", [0.1, 0.6, 0.7])
def test_exactly_the_share_is_chosen_also_on_ties(ratio: float) -> None:
    tied = flat([50], loss_n=torch.ones(50), reference_n=torch.ones(50))
    weights, _ = ReferenceExcess(ratio=ratio)(tied)
    assert weights is not None
    expected = math.ceil(round(ratio * 50, 9))
    assert (weights > 0).nonzero().flatten().tolist() == list(range(expected)), "of equal ones the first"
    assert float(weights.sum()) == pytest.approx(50)


def test_a_constant_added_to_all_reference_losses_chooses_the_same() -> None:
    tokens = flat(LENGTHS)
    assert tokens.reference_n is not None
    own, _ = ReferenceExcess()(tokens)
    moved, _ = ReferenceExcess()(replace(tokens, reference_n=tokens.reference_n + 2.0))
    assert torch.equal(own, moved)  # type: ignore[arg-type]


def test_the_loss_of_a_choice_is_the_mean_over_the_chosen() -> None:
    tokens = flat(LENGTHS)
    assert tokens.loss_n is not None
    weights, _ = ReferenceExcess(ratio=0.6)(tokens)
    assert weights is not None
    mean = (weights * tokens.loss_n).sum() / len(tokens)
    assert mean.item() == pytest.approx(tokens.loss_n[weights > 0].mean().item())


def test_tokens_that_are_not_learned_are_not_counted() -> None:
    """N is the number of learned tokens, not of positions."""
    labels = torch.tensor([[-100, -100, -100, 4, 5, 6, 7, 8]])
    tokens = flatten(labels, keep_mask(labels), {})
    told = replace(tokens, loss_n=torch.arange(5.0), reference_n=torch.zeros(5))
    weights, _ = ReferenceExcess(ratio=0.6)(told)
    assert weights is not None
    assert weights.tolist() == pytest.approx([0, 0, 5 / 3, 5 / 3, 5 / 3])


def test_a_reference_is_read_without_dropout_and_without_gradients() -> None:
    reference, table = support.model(attention_dropout=0.5).train(), support.table(5)
    noisy = reference(torch.tensor([[5, 6, 7, 8]])).logits
    assert not torch.equal(noisy, reference(torch.tensor([[5, 6, 7, 8]])).logits), "in training there is dropout"
    first, again = (token_losses_of(reference, table, Rows(32)).values for _ in range(2))
    assert (first == again).all()
    assert (first == token_losses_of(reference.eval(), table, Rows(32)).values).all()
    assert all(parameter.grad is None for parameter in reference.parameters())
