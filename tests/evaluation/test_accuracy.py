"""Token accuracy against argmax of all logits, one document at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from curricle.data.rows import Rows
from curricle.data.table import TokenTable
from curricle.errors import DataError
from curricle.evaluation.accuracy import token_accuracy
from curricle.evaluation.perplexity import answer_perplexity
from support import model, table


def shares(net: torch.nn.Module, examples: TokenTable) -> list[float]:
    found = []
    for i in range(len(examples)):
        tokens, supervised = examples.example(i)
        ids = torch.tensor(tokens.astype(np.int64))
        with torch.no_grad():
            right = net(input_ids=ids[None]).logits[0, :-1].argmax(-1) == ids[1:]
        found.append(100 * right[torch.tensor(supervised[1:].copy())].double().mean().item())
    return found


def continued(net: torch.nn.Module, num: int = 10) -> TokenTable:
    """Prompts with the model's own greedy answers, every second answer's last token exchanged."""
    rows, labels = [], []
    for i in range(num):
        tokens = [4 + i, 50 - i, 7]
        with torch.no_grad():
            for _ in range(2 + i % 3):
                tokens.append(int(net(input_ids=torch.tensor([tokens])).logits[0, -1].argmax()))
        if i % 2:
            tokens[-1] = (tokens[-1] + 1) % 97
        rows.append(tokens)
        labels.append([-100] * 3 + tokens[3:])
    return TokenTable.from_lists(rows, labels)


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
@pytest.mark.parametrize("rows", [Rows(64), Rows(64, packing="none")], ids=["packed", "padded"])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_against_argmax(kind: str, rows: Rows, batch_size: int) -> None:
    net = model(kind).eval()
    for examples in (table(20), continued(net)):
        [score] = token_accuracy(net, examples, rows, batch_size=batch_size)
        expected = np.array(shares(net, examples))
        assert score.per_example == pytest.approx(expected)
        assert score.weights.tolist() == examples.num_supervised.tolist()
        assert score.value == pytest.approx(np.average(expected, weights=examples.num_supervised))
        assert (score.name, score.higher_is_better, score.transform) == ("token_accuracy", True, "none")


def test_the_models_own_answers_are_right_but_for_what_was_exchanged() -> None:
    net = model().eval()
    examples = continued(net)
    [score] = token_accuracy(net, examples, Rows(64))
    num = int(examples.num_supervised.sum())
    assert score.value == pytest.approx(100 * (num - 5) / num)


def test_nothing_learned_is_refused_as_by_the_loss() -> None:
    """A table cannot be made so, but its first rows can."""
    unlearned = TokenTable.from_lists([[4, 5, 6], [7, 8]], [[-100] * 3, [-100, 8]]).head(1)
    for measured in (token_accuracy, answer_perplexity):
        with pytest.raises(DataError, match="no token to score"):
            measured(model(), unlearned, Rows(16))
