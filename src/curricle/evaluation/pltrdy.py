"""ROUGE as the package `rouge` 1.0.1 (by pltrdy) computes it, which Korean competitions pin. It never agrees with
rouge-score: sentences end at every ".", words are what stands between spaces, n-grams are sets (a word counts once,
however often it comes), and ROUGE-L is the union of the subsequences of all pairs of sentences, as a set of words.

Two things differ. A text without a word has the value 0, where the package raises or lets empty words match. And the
length of a sentence has no limit, where the package recurses once a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from .counts import Counts, Pair, Quantity
from .lcs import union_of_common
from .words import Words

NAMES = ("rouge1", "rouge2", "rougeL")
_SMALL = 1e-8  # the package divides by precision + recall + this, so that identical texts have 1 - 5e-9


def values(pairs: Sequence[Pair], cut: Words, quantity: Quantity = "f1") -> np.ndarray:
    """[num_pairs, 3] in 0..1."""
    table = np.array([_counts(_sentences(a, cut), _sentences(b, cut)) for a, b in pairs], dtype=float)
    counts = Counts(*table.transpose(1, 0, 2))
    if quantity != "f1":
        return counts.values(quantity)
    precision, recall = counts.values("precision"), counts.values("recall")
    return 2 * precision * recall / (precision + recall + _SMALL)


def _sentences(text: str, cut: Words) -> list[list[str]]:
    """Words of each sentence. The package knows spaces only, so other words than those are first put between spaces.

    A sentence of spaces is one empty word, as in the package: "a. b. " ends with one.
    """
    if cut.name != "eojeol":
        text = " ".join(cut(text))
    sentences = [sentence.split() or [""] for sentence in text.split(".") if sentence]
    return sentences if any(sentence != [""] for sentence in sentences) else []


def _counts(predicted: list[list[str]], given: list[list[str]]) -> tuple[list[int], list[int], list[int]]:
    """Overlap, size of the prediction and size of the reference, for ROUGE-1, -2 and -L."""
    (words, pairs), (other_words, other_pairs) = _ngrams(predicted), _ngrams(given)
    union = {sentence[place] for sentence in predicted for place in union_of_common(given, sentence)}
    overlap = [len(words & other_words), len(pairs & other_pairs), len(union)]
    return overlap, [len(words), len(pairs), len(words)], [len(other_words), len(other_pairs), len(other_words)]


def _ngrams(sentences: list[list[str]]) -> tuple[set[str], set[tuple[str, str]]]:
    """Words and pairs of neighbours, over the ends of sentences."""
    flat = [word for sentence in sentences for word in sentence]
    return set(flat), set(pairwise(flat))
