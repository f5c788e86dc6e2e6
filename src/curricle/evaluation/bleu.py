"""BLEU and chrF by sacrebleu, with its signature. A corpus figure is no mean over examples, so there are no values of
single ones.

sacrebleu's default tokenizer, 13a, cuts at spaces and punctuation, so that a Korean word with another particle is
another word. For Korean: `char`, `ko-mecab` where installed, or one of our ways to cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import MissingExtra, RecipeError, nearest
from .pairs import check_pairs
from .score import Score
from .words import Words, words

OURS = ("eojeol", "morpheme", "character", "syllable-bigram")
THEIRS = ("13a", "intl", "char", "zh", "none", "ko-mecab", "ja-mecab")  # those that download nothing


def bleu(predictions: Sequence[str], references: Sequence[Sequence[str]], *, tokenizer: str = "13a") -> list[Score]:
    """Corpus BLEU, 0 to 100. Rows may have unequal numbers of references."""
    check_pairs(predictions, references)
    metric, cut = bleu_metric(tokenizer)
    if cut is not None:
        predictions = [" ".join(cut(text)) for text in predictions]
        references = [[" ".join(cut(text)) for text in texts] for texts in references]
    return [_score("bleu", metric, predictions, references, cut)]


def chrf(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> list[Score]:
    """Corpus chrF (Popovic 2015), 0 to 100: n-grams of characters, 1 to 6, so no words are needed."""
    from sacrebleu.metrics import CHRF

    check_pairs(predictions, references)
    return [_score("chrf", CHRF(), predictions, references)]


def bleu_metric(tokenizer: str) -> tuple[Any, Words | None]:
    """sacrebleu's metric, and our way to cut a text before it, if it is ours; raises if it cannot be had here."""
    from sacrebleu.metrics import BLEU

    if tokenizer in OURS:
        return BLEU(tokenize="none", force=True), words(tokenizer)  # force: no warning that the text is cut already
    if tokenizer not in THEIRS:
        raise RecipeError(f"bleu tokenizer `{tokenizer}`: {nearest(tokenizer, [*OURS, *THEIRS])}")
    try:
        return BLEU(tokenize=tokenizer), None
    except RuntimeError as error:
        if not tokenizer.endswith("-mecab"):
            raise
        extra = tokenizer.removesuffix("-mecab")
        raise MissingExtra(
            f"bleu tokenizer `{tokenizer}` needs MeCab, which is not installed: pip install 'sacrebleu[{extra}]'"
            + (", or take `morpheme` (Kiwi) or `char`" if extra == "ko" else "")
        ) from error


def _score(
    name: str, metric: Any, predictions: Sequence[str], references: Sequence[Sequence[str]], cut: Words | None = None
) -> Score:
    """sacrebleu wants the first references of all rows, then the second ones; None where a row has no more."""
    most = max(map(len, references))
    columns = [[texts[i] if i < len(texts) else None for texts in references] for i in range(most)]
    value = metric.corpus_score(predictions, columns).score
    signature = str(metric.get_signature())
    return Score(name, value, note=f"{signature}, cut before: {cut.note}" if cut else signature)
