"""ROUGE against a plain reference and against rouge-score itself."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from rouge_score.rouge_scorer import RougeScorer

from curricle.errors import RecipeError
from curricle.evaluation import rouge as module
from curricle.evaluation.rouge import NAMES, google_counts, rouge, rouge_pair
from curricle.evaluation.words import words
from evaluation.summaries import ENGLISH, KOREAN, Pair, dialogsum, in_lines, korean, texts

QUANTITIES = {"f1": "fmeasure", "precision": "precision", "recall": "recall"}


class Cutter:
    """A way to cut of ours, as rouge-score wants it."""

    def __init__(self, kind: str) -> None:
        self.tokenize = words(kind)


def theirs(pairs: list[Pair], kind: str, quantity: str) -> np.ndarray:
    scorer = RougeScorer(list(NAMES), tokenizer=None if kind == "english" else Cutter(kind))
    scores = [scorer.score(target=reference, prediction=prediction) for prediction, reference in pairs]
    return np.array([[getattr(score[name], QUANTITIES[quantity]) for name in NAMES] for score in scores])


def ours(pairs: list[Pair], kind: str, quantity: Any) -> np.ndarray:
    return google_counts(pairs, words(kind)).values(quantity)


def plain(prediction: str, reference: str, kind: str) -> list[float]:
    """ROUGE-1, -2 and -L as the paper has them, F1."""
    a, b = words(kind)(prediction), words(kind)(reference)
    lengths: Any = Counter()
    for i, mine in enumerate(a):
        for j, other in enumerate(b):
            lengths[i, j] = lengths[i - 1, j - 1] + 1 if mine == other else max(lengths[i - 1, j], lengths[i, j - 1])
    overlaps = [
        (Counter(a) & Counter(b)).total(),
        (Counter(pairwise(a)) & Counter(pairwise(b))).total(),
        lengths[len(a) - 1, len(b) - 1],
    ]
    sizes = [len(a) + len(b), max(len(a) - 1, 0) + max(len(b) - 1, 0), len(a) + len(b)]
    return [2 * overlap / size if size else 0.0 for overlap, size in zip(overlaps, sizes, strict=True)]


@settings(deadline=None)
@given(texts(KOREAN), texts(KOREAN))
def test_the_plain_definition(prediction: str, reference: str) -> None:
    for kind in ("eojeol", "character", "syllable-bigram"):
        assert list(rouge_pair(prediction, reference, kind).values())[:3] == pytest.approx(
            plain(prediction, reference, kind), abs=1e-12
        )


@settings(max_examples=300, deadline=None)
@given(texts(ENGLISH), texts(ENGLISH))
def test_english_is_rouge_score(prediction: str, reference: str) -> None:
    for quantity in QUANTITIES:
        mine = ours([(prediction, reference)], "english", quantity)
        np.testing.assert_allclose(mine, theirs([(prediction, reference)], "english", quantity), rtol=0, atol=1e-12)


@settings(deadline=None)
@given(texts(KOREAN), texts(KOREAN))
def test_other_words_are_rouge_score_with_the_same_words(prediction: str, reference: str) -> None:
    for kind in ("eojeol", "character", "syllable-bigram"):
        mine = ours([(prediction, reference)], kind, "f1")
        np.testing.assert_allclose(mine, theirs([(prediction, reference)], kind, "f1"), rtol=0, atol=1e-12)


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_500_real_summaries_in_english(shared_data: Path, quantity: str) -> None:
    pairs = dialogsum(shared_data)
    pairs += in_lines(pairs[:250])
    np.testing.assert_allclose(ours(pairs, "english", quantity), theirs(pairs, "english", quantity), rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", ["eojeol", "morpheme", "syllable-bigram"])
def test_500_real_texts_in_korean(shared_data: Path, kind: str) -> None:
    pairs = korean(shared_data)
    pairs = pairs[:400] + in_lines(pairs[400:])
    np.testing.assert_allclose(ours(pairs, kind, "f1"), theirs(pairs, kind, "f1"), rtol=0, atol=1e-9)


def test_batches_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(f"나는 밥을 {i} 먹었다", f"나는 {i % 3} 밥을 샀다\n너도") for i in range(20)] + [("", "나")]
    whole = ours(pairs, "character", "f1")
    monkeypatch.setattr(module, "BATCH", 3)
    np.testing.assert_array_equal(ours(pairs, "character", "f1"), whole)


def test_figures_of_a_set() -> None:
    scores = {
        score.name: score
        for score in rouge(["나는 밥을 샀다", ""], [["나는 밥을 먹었다", "나는 밥을 샀다"], ["너"]], tokenizer="eojeol")
    }
    assert list(scores) == ["rouge1", "rouge2", "rougeL", "rougeLsum", "sum"]
    np.testing.assert_allclose(scores["rouge1"].per_example, [100 * (2 / 3 + 1) / 2, 0])
    np.testing.assert_allclose(scores["sum"].per_example, [100 * (2 / 3 + 1 / 2 + 2 / 3 + 3) / 2, 0])
    assert scores["sum"].value == pytest.approx(scores["sum"].per_example.mean())
    assert scores["sum"].note == "as rouge-score 0.1.2, eojeol, mean over references"


def test_the_best_reference_is_taken_for_each_figure() -> None:
    references = ["a x b y c", "a b z z z z"]  # the first has more words in common, only the second a pair
    scores = rouge(["a b c"], [references], tokenizer="eojeol", multi_ref="max")
    each = [rouge_pair("a b c", reference, "eojeol") for reference in references]
    assert each[0]["rouge1"] > each[1]["rouge1"]
    assert each[0]["rouge2"] < each[1]["rouge2"]
    for score in scores[:4]:
        assert score.value == pytest.approx(100 * max(values[score.name] for values in each))


@pytest.mark.parametrize(
    ("reference", "note"),
    [
        ("a cat", "as rouge-score 0.1.2, english"),
        ("#abc#은 밥을", "as rouge-score 0.1.2, english, blind to 50% of the references' letters"),
        ("“ … ”", "as rouge-score 0.1.2, english"),
    ],
)
def test_what_english_words_leave_out_is_noted(reference: str, note: str) -> None:
    assert rouge(["a"], [[reference]], tokenizer="english")[0].note == note
    assert "blind" not in rouge(["a"], [[reference]])[0].note


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"multi_ref": "mx"}, "did you mean `max`"),
        ({"implementation": "pltrdi"}, "did you mean `pltrdy`"),
        ({"tokenizer": "char"}, "did you mean `character`"),
        ({"quantity": "f"}, "did you mean `f1`"),
    ],
)
def test_unknown_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        rouge(["a"], [["a"]], **options)
