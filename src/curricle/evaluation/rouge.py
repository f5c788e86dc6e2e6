"""ROUGE-1, -2, -L and -Lsum (Lin 2004), equal to rouge-score, with words of any language.

Each is the overlap of two multisets over their sizes: pairs of neighbouring words for ROUGE-2, a longest common
subsequence for ROUGE-L, and for ROUGE-Lsum the union of those of each line of the reference with every line of the
prediction. What is left to compute is `overlap`, `predicted` and `given` for every pair of texts,

    precision = overlap / predicted      recall = overlap / given      F1 = 2 overlap / (predicted + given)

so many pairs go at once: words become numbers, a text's n-grams become integers that also hold its place in the batch,
and one sort counts them all.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, count

import numpy as np

from ..errors import RecipeError, nearest
from . import pltrdy
from .counts import Counts, Pair, Quantity
from .lcs import union_of_common
from .pairs import check_pairs
from .score import Score, mean_score
from .words import words

NAMES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
Cut = Callable[[str], list[str]]
BATCH = 1024


def rouge(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    tokenizer: str = "character",
    multi_ref: str = "mean",
    implementation: str = "google",
    quantity: Quantity = "f1",
) -> list[Score]:
    """ROUGE of answers against one or more references each, 0 to 100; `sum` is ROUGE-1 + ROUGE-2 + ROUGE-L, to 300."""
    check_pairs(predictions, references)
    pairs = [(p, reference) for p, given in zip(predictions, references, strict=True) for reference in given]
    names, per_pair, note = _values(pairs, tokenizer, implementation, quantity)
    begins = np.cumsum([0, *(len(given) for given in references[:-1])])
    if multi_ref == "mean":
        sizes = np.array([len(given) for given in references])
        per_example = np.add.reduceat(per_pair, begins) / sizes[:, None]
    elif multi_ref == "max":
        per_example = np.maximum.reduceat(per_pair, begins)
    else:
        raise RecipeError(f"multi_ref `{multi_ref}`: {nearest(multi_ref, ['mean', 'max'])}")
    columns = dict(zip(names, 100 * per_example.T, strict=True))
    columns["sum"] = columns["rouge1"] + columns["rouge2"] + columns["rougeL"]
    note += _blindness(references) if tokenizer == "english" else ""
    note += "" if quantity == "f1" else f", {quantity}"
    note += "" if len(pairs) == len(predictions) else f", {multi_ref} over references"
    return [mean_score(name, column, note=note) for name, column in columns.items()]


def rouge_pair(
    prediction: str, reference: str, tokenizer: str = "character", quantity: Quantity = "f1"
) -> dict[str, float]:
    """Of one pair, in 0..1. For many pairs `rouge` is a hundred times faster a pair."""
    values = google_counts([(prediction, reference)], words(tokenizer)).values(quantity)
    return dict(zip(NAMES, values[0].tolist(), strict=True))


def _blindness(references: Sequence[Sequence[str]]) -> str:
    """English words have no letter outside a-z: whose figure rests on what is left should read how much that is."""
    texts = [text for given in references for text in given]
    if all(map(str.isascii, texts)):
        return ""
    seen = [letter.isascii() for text in texts for letter in text if letter.isalpha()]
    return f", blind to {1 - sum(seen) / len(seen):.0%} of the references' letters" if seen else ""


def _values(
    pairs: Sequence[Pair], tokenizer: str, implementation: str, quantity: Quantity
) -> tuple[Sequence[str], np.ndarray, str]:
    """The metrics' names, their values [num_pairs, num_metrics] in 0..1, and how they were made."""
    cut = words(tokenizer)
    if implementation == "google":
        return NAMES, google_counts(pairs, cut).values(quantity), f"as rouge-score 0.1.2, {cut.note}"
    if implementation == "pltrdy":
        return pltrdy.NAMES, pltrdy.values(pairs, cut, quantity), f"as rouge 1.0.1, {cut.note}"
    raise RecipeError(f"implementation `{implementation}`: {nearest(implementation, ['google', 'pltrdy'])}")


def google_counts(pairs: Sequence[Pair], cut: Cut) -> Counts:
    """What rouge-score divides, of every pair."""
    parts = [_batch_counts(pairs[i : i + BATCH], cut) for i in range(0, len(pairs), BATCH)]
    overlap, predicted, given = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Counts(overlap, predicted, given)


def _batch_counts(pairs: Sequence[Pair], cut: Cut) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from rapidfuzz.distance import LCSseq

    number_of: defaultdict[str, int] = defaultdict(count().__next__)  # a word's number is how many came before it
    predicted = [[number_of[word] for word in cut(prediction)] for prediction, _ in pairs]
    given = [[number_of[word] for word in cut(reference)] for _, reference in pairs]
    size = len(number_of)
    ngrams = zip(_ngram_keys(predicted, size), _ngram_keys(given, size), (size, size**2), strict=True)
    overlaps = [_clipped_overlap(mine, theirs, base, len(pairs)) for mine, theirs, base in ngrams]
    common = np.fromiter(map(LCSseq.similarity, predicted, given), float, len(pairs))

    num_predicted, num_given = _sizes(predicted), _sizes(given)
    columns = [
        np.stack([*overlaps, common, common], axis=1),
        np.stack([num_predicted, np.maximum(num_predicted - 1, 0), num_predicted, num_predicted], axis=1),
        np.stack([num_given, np.maximum(num_given - 1, 0), num_given, num_given], axis=1),
    ]
    for i, pair in enumerate(pairs):
        if "\n" in pair[0] or "\n" in pair[1]:  # of one line each, Lsum is L
            for column, value in zip(columns, _line_counts(*pair, cut), strict=True):
                column[i, 3] = value
    return columns[0], columns[1], columns[2]


def _sizes(texts: Sequence[Sequence[int]]) -> np.ndarray:
    return np.fromiter(map(len, texts), float, len(texts))


def _ngram_keys(texts: Sequence[Sequence[int]], size: int) -> Iterator[np.ndarray]:
    """Integers for all words, then for all pairs of neighbours: alike only where the place and the words are.

    texts   [7 5] [5 5 7]      place   0 0 1 1 1      word   7 5 5 5 7
    words   (0 7) (0 5) (1 5) (1 5) (1 7)
    pairs   (0 7 5)  -  (1 5 5) (1 5 7)               "-": the neighbours lie in two texts
    """
    sizes = _sizes(texts).astype(np.int64)
    flat = np.fromiter(chain.from_iterable(texts), np.int64, sizes.sum())
    place = np.repeat(np.arange(len(texts)), sizes)
    keys = place * size + flat
    yield keys
    yield (keys[:-1] * size + flat[1:])[place[1:] == place[:-1]]


def _clipped_overlap(mine: np.ndarray, theirs: np.ndarray, base: int, num_pairs: int) -> np.ndarray:
    """How many n-grams both texts of a pair have, each as often as the text that has it less often."""
    mine, num_mine = np.unique(mine, return_counts=True)
    theirs, num_theirs = np.unique(theirs, return_counts=True)
    both, at_mine, at_theirs = np.intersect1d(mine, theirs, assume_unique=True, return_indices=True)
    return np.bincount(both // max(base, 1), np.minimum(num_mine[at_mine], num_theirs[at_theirs]), num_pairs)


def _line_counts(prediction: str, reference: str, cut: Cut) -> tuple[int, int, int]:
    """ROUGE-Lsum: overlap and sizes, words counted line by line.

    A word is a hit once for each time both texts have it, however many lines it is common to.
    """
    predicted = [cut(line) for line in prediction.split("\n") if line]
    given = [cut(line) for line in reference.split("\n") if line]
    union: Counter[str] = Counter()
    for line in given:
        union.update(line[place] for place in union_of_common(predicted, line))
    hits = union & Counter(chain.from_iterable(predicted))
    return hits.total(), sum(map(len, predicted)), sum(map(len, given))
