"""IFD against one answer at a time with all logits; what has none; what comes before an answer nobody asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from chat_tokenizers import tokenizer_of, tokenizer_with
from curricle.data.rows import Rows
from curricle.data.table import TokenTable
from curricle.errors import DataError
from curricle.evaluation.answers import last_answers
from curricle.evaluation.ifd import answer_head, ifd, ifd_ratios
from curricle.models.nano import train_tokenizer
from support import model, table


def slow_mean(net: torch.nn.Module, before: list[int], answer: list[int], first: int) -> float:
    tokens = before + answer
    with torch.no_grad():
        logits = net(input_ids=torch.tensor([tokens])).logits[0].double()
    places = range(len(before) + first, len(tokens))
    return float(np.mean([-torch.log_softmax(logits[t - 1], -1)[tokens[t]].item() for t in places]))


@pytest.mark.parametrize("head", [[], [1], [2, 3, 1]], ids=str)
@pytest.mark.parametrize("rows", [Rows(64), Rows(16), Rows(64, packing="none")], ids=["packed", "short", "padded"])
def test_against_one_answer_at_a_time(head: list[int], rows: Rows) -> None:
    net, examples = model().eval(), table(20)
    pairs = last_answers(examples)
    first = 0 if head else 1
    expected = [
        slow_mean(net, prompt, answer, first) / slow_mean(net, head, answer, first)
        if len(answer) >= 2 + first
        else np.nan
        for prompt, answer in pairs
    ]
    found = ifd_ratios(net, pairs, rows, head=head, batch_size=2)
    assert found == pytest.approx(expected, rel=1e-5, nan_ok=True)
    [score] = ifd(net, examples, rows, head=head)
    assert score.value == pytest.approx(np.nanmean(expected))
    assert score.weights.tolist() == [float(np.isfinite(one)) for one in expected]
    assert score.value == pytest.approx(np.average(score.per_example, weights=score.weights))
    assert f"mean over {np.isfinite(expected).sum()} examples" in score.note


def test_answers_of_a_single_token_are_left_out() -> None:
    net = model().eval()
    pairs = [([5, 6], [7]), ([5, 6], [7, 8]), ([5, 6], [7, 8, 9]), ([], [7, 8, 9])]
    assert np.isfinite(ifd_ratios(net, pairs, Rows(16), head=[1])).tolist() == [False, True, True, False]
    assert np.isfinite(ifd_ratios(net, pairs, Rows(16))).tolist() == [False, False, True, False]


def test_nothing_to_measure_is_one_line() -> None:
    examples = TokenTable.from_lists([[5, 6, 7]], [[-100, -100, 7]])
    with pytest.raises(DataError, match=r"none of the 1 rows of `data.eval` has both"):
        ifd(model(), examples, Rows(16))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("qwen2_5", "<|im_start|>assistant\n"),
        ("llama3", "<|start_header_id|>assistant<|end_header_id|>\n\n"),
    ],
)
def test_what_a_template_writes_before_an_answer(name: str, text: str) -> None:
    tokenizer = tokenizer_of(name)
    assert tokenizer.decode(answer_head(tokenizer, chat=True)) == text


def test_what_a_document_begins_with() -> None:
    assert answer_head(train_tokenizer(["a b c"]), chat=False) == []
    assert answer_head(tokenizer_with(None), chat=False) == []
