"""What must hold of everything measured by likelihood: METHODS on perplexity and on IFD.

Batch size, packing and the order of rows change nothing; what is not supervised counts for nothing; a prompt that says
no more than no prompt explains nothing.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from curricle.data.rows import Rows
from curricle.data.table import TokenTable
from curricle.evaluation.accuracy import token_accuracy
from curricle.evaluation.ifd import ifd, ifd_ratios
from curricle.evaluation.perplexity import answer_perplexity, text_perplexity
from curricle.evaluation.ranking import hits
from curricle.evaluation.score import Score
from curricle.models.nano import train_tokenizer
from support import VOCAB, model, table

SHAPES = [
    (Rows(max_length, packing, lookahead), batch_size)
    for (packing, max_length, lookahead), batch_size in product(
        [("ordered", 32, 4), ("ordered", 200, 256), ("none", 64, 1)], [1, 2, 7]
    )
]
TEXTS = ["one two three four five six", "seven", "eight nine ten", "one one two three five eight " * 5]


def all_scores(net: Any, examples: TokenTable, rows: Rows, batch_size: int) -> list[Score]:
    tokenizer = train_tokenizer(TEXTS * 3, vocab_size=300)
    return [
        *answer_perplexity(net, examples, rows, batch_size=batch_size),
        *token_accuracy(net, examples, rows, batch_size=batch_size),
        *ifd(net, examples, rows, head=[1], batch_size=batch_size),
        *hits(net, examples, rows, candidates=5, k=[1, 2], batch_size=batch_size),
        *text_perplexity(net, TEXTS, tokenizer, rows, context=20, stride=7, batch_size=batch_size),
    ]


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_batch_size_and_packing_change_nothing(kind: str) -> None:
    """In float64, where rounding leaves no room for a token more or less."""
    net, examples = model(kind, vocab_size=300).double().eval(), table(19)
    first, *others = (all_scores(net, examples, rows, batch_size) for rows, batch_size in SHAPES)
    for scores in others:
        for one, other in zip(first, scores, strict=True):
            assert one.value == pytest.approx(other.value, rel=1e-6), one.name
            assert one.per_example == pytest.approx(other.per_example, rel=1e-6), one.name


def test_the_order_of_the_rows_changes_nothing() -> None:
    net, rng = model().eval(), np.random.default_rng(5)
    rows = [rng.integers(4, VOCAB, 6 + i % 5).tolist() for i in range(12)]
    labels = [[-100] * 3 + row[3:] for row in rows]
    ids = [f"{i:016x}" for i in range(12)]
    turned = rng.permutation(12).tolist()
    one = TokenTable.from_lists(rows, labels, ids)
    other = TokenTable.from_lists([rows[i] for i in turned], [labels[i] for i in turned], [ids[i] for i in turned])
    for measure in (answer_perplexity, token_accuracy, ifd):
        for before, after in zip(measure(net, one, Rows(32)), measure(net, other, Rows(32)), strict=True):
            assert before.value == pytest.approx(after.value)
            assert before.per_example[turned] == pytest.approx(after.per_example, rel=1e-4)
    [before], [after] = (hits(net, each, Rows(32), candidates=6) for each in (one, other))
    assert before.per_example[turned].tolist() == after.per_example.tolist()


def test_padding_and_what_is_not_supervised_count_for_nothing() -> None:
    net, examples = model().eval(), table(9)
    with torch.no_grad():
        total = num = 0.0
        for i in range(len(examples)):
            tokens, supervised = examples.example(i)
            ids = torch.tensor(tokens.astype(np.int64))[None]
            labels = torch.where(torch.tensor(supervised.copy()), ids, -100)
            total += net(input_ids=ids, labels=labels).loss.item() * supervised.sum()
            num += supervised.sum()
    for pad in (0, 5):
        [loss, _] = answer_perplexity(net, examples, Rows(64, "none", pad_id=pad), batch_size=9)
        assert loss.value == pytest.approx(total / num, rel=1e-6)
        assert loss.weights.sum() == num == examples.num_supervised.sum()


def test_a_mean_over_tokens_and_no_mean_of_means() -> None:
    net, examples = model().eval(), table(9)
    [loss, perplexity] = answer_perplexity(net, examples, Rows(64))
    assert loss.value == pytest.approx(np.average(loss.per_example, weights=examples.num_supervised))
    assert perplexity.value == pytest.approx(np.exp(loss.value))
    assert abs(loss.value - loss.per_example.mean()) > 1e-4


@pytest.mark.parametrize(("rows", "batch_size"), SHAPES)
def test_a_prompt_that_is_the_head_has_ifd_1(rows: Rows, batch_size: int) -> None:
    net, head = model().eval(), [1, 9]
    pairs = [(head, [20 + i, 40 + i, *range(50, 50 + i)]) for i in range(8)]
    assert ifd_ratios(net, pairs, rows, head=head, batch_size=batch_size) == pytest.approx(np.ones(8), rel=1e-5)


def test_ifd_is_positive() -> None:
    for kind in ("llama", "gpt2"):
        [score] = ifd(model(kind).eval(), table(30), Rows(64), head=[1])
        assert (score.per_example[score.weights > 0] > 0).all()
