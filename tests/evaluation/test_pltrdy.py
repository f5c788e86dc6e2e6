"""Equal to the package `rouge` 1.0.1 wherever that gives a number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from rouge import Rouge

from curricle.evaluation.pltrdy import values
from curricle.evaluation.rouge import rouge
from curricle.evaluation.words import words
from evaluation.summaries import ENGLISH, KOREAN, Pair, dialogsum, in_lines, korean, texts

PACKAGE = Rouge()
QUANTITIES = {"f1": "f", "precision": "p", "recall": "r"}


def theirs(pairs: list[Pair], quantity: str = "f1") -> np.ndarray:
    scores = [PACKAGE.get_scores(*pair)[0] for pair in pairs]
    return np.array([[score[name][QUANTITIES[quantity]] for name in PACKAGE.metrics] for score in scores])


def same(pairs: list[Pair], tolerance: float = 1e-12) -> None:
    for quantity in QUANTITIES:
        mine = values(pairs, words("eojeol"), quantity)
        np.testing.assert_allclose(mine, theirs(pairs, quantity), rtol=0, atol=tolerance)


@settings(max_examples=300, deadline=None)
@given(texts(KOREAN) | texts(ENGLISH), texts(KOREAN) | texts(ENGLISH))
def test_made_up_texts(prediction: str, reference: str) -> None:
    assume(prediction.replace(".", "").strip() and reference.replace(".", "").strip())
    same([(prediction, reference)])


def test_500_real_summaries_in_english(shared_data: Path) -> None:
    same(in_lines(dialogsum(shared_data)), tolerance=1e-9)


def test_500_real_texts_in_korean(shared_data: Path) -> None:
    pairs = korean(shared_data)
    assert theirs(pairs).min(axis=0)[0] > 0  # Korean is seen
    same(pairs, tolerance=1e-9)


@pytest.mark.parametrize("kind", ["morpheme", "character"])
def test_words_put_between_spaces_as_competition_kits_do(shared_data: Path, kind: str) -> None:
    cut = words(kind)
    pairs = korean(shared_data, 60)
    apart = [(" ".join(cut(a)), " ".join(cut(b))) for a, b in pairs]
    np.testing.assert_allclose(values(pairs, cut), theirs(apart), rtol=0, atol=1e-12)


@pytest.mark.parametrize("text", ["", " ", ".", " . . ", "\n"])
def test_a_text_without_words_is_0(text: str) -> None:
    for pair in [(text, "나는 갔다. "), ("나는 갔다. ", text), (text, text)]:
        assert values([pair], words("eojeol")).tolist() == [[0, 0, 0]]


def test_a_sentence_longer_than_the_packages_recursion() -> None:
    long = " ".join(f"w{i}" for i in range(1500))
    with pytest.raises(RecursionError):
        PACKAGE.get_scores(long, long)
    np.testing.assert_allclose(values([(long, long)], words("eojeol")), 1, atol=1e-8)


def test_figures_of_a_set() -> None:
    options: dict[str, Any] = {"tokenizer": "eojeol", "implementation": "pltrdy"}
    scores = rouge(["a b. a b", ""], [["a b", "c"], ["c"]], **options)
    assert [score.name for score in scores] == ["rouge1", "rouge2", "rougeL", "sum"]  # the package has no Lsum
    assert scores[0].per_example == pytest.approx([50, 0])  # a word counts once
    assert scores[0].note == "as rouge 1.0.1, eojeol, mean over references"
