"""Values of supervised tokens lie in the table's order, whatever row and batch they came from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from curricle.data.rows import Rows
from curricle.models.likelihood import TokenValues, answer_losses_of, token_hits_of, token_losses_of
from support import model, table

ROWS = [Rows(32), Rows(200, lookahead=3), Rows(64, packing="none")]


def slow(net: torch.nn.Module, tokens: np.ndarray, supervised: np.ndarray) -> tuple[list[float], list[float]]:
    """One document, all logits: the losses of its supervised tokens, and where argmax is right."""
    ids = torch.tensor(tokens.astype(np.int64))[None]
    with torch.no_grad():
        logits = net(input_ids=ids).logits[0]
    losses = F.cross_entropy(logits[:-1].float(), ids[0, 1:], reduction="none")
    right = logits[:-1].argmax(-1) == ids[0, 1:]
    chosen = [t - 1 for t in range(1, len(tokens)) if supervised[t]]
    return [losses[t].item() for t in chosen], [float(right[t]) for t in chosen]


@pytest.mark.parametrize("kind", ["llama", "gemma2", "gpt2"])
@pytest.mark.parametrize("rows", ROWS, ids=["packed", "wide", "padded"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_against_one_document_at_a_time(kind: str, rows: Rows, batch_size: int) -> None:
    net, examples = model(kind).eval(), table(23)
    losses = token_losses_of(net, examples, rows, batch_size=batch_size)
    hits = token_hits_of(net, examples, rows, batch_size=batch_size)
    for i in range(len(examples)):
        expected_losses, expected_hits = slow(net, *examples.example(i))
        assert losses.of(i).tolist() == pytest.approx(expected_losses, abs=2e-5)
        assert hits.of(i).tolist() == expected_hits
    assert losses.counts.tolist() == examples.num_supervised.tolist()


def test_sums_of_each_example_also_where_nothing_is_supervised() -> None:
    values = TokenValues(np.array([1.0, 2.0, 4.0]), np.array([0, 2, 2, 3]))
    assert values.sums().tolist() == [3.0, 0.0, 4.0]
    assert values.counts.tolist() == [2, 0, 1]


def test_answers_longer_than_a_row_get_longer_rows() -> None:
    net = model().eval()
    pairs = [([5, 6], list(range(10, 40))), ([7], [8, 9])]
    found = answer_losses_of(net, pairs, Rows(16))
    assert found.counts.tolist() == [30, 2]
    cut = answer_losses_of(net, pairs, Rows(16), first=1)
    assert cut.of(0) == pytest.approx(found.of(0)[1:])


def test_the_model_goes_on_training() -> None:
    net = model().train()
    token_losses_of(net, table(3), Rows(64))
    assert net.training
    assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize("world", [2, 3, 7])
def test_ranks_share_the_work_and_leave_nothing_out(world: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a process group nothing is summed, so each rank shows what it has computed itself."""
    net, examples = model().eval(), table(11)
    whole = token_losses_of(net, examples, Rows(32)).values
    monkeypatch.setenv("WORLD_SIZE", str(world))
    shares = []
    for rank in range(world):
        monkeypatch.setenv("RANK", str(rank))
        shares.append(token_losses_of(net, examples, Rows(32)).values)
    assert sum(shares) == pytest.approx(whole, rel=1e-5)
    assert (np.sum([share != 0 for share in shares], axis=0) == 1).all()
