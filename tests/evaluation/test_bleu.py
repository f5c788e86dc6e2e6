"""sacrebleu, called rightly: columns of references, tokenizers for Korean, signatures."""

from __future__ import annotations

import builtins
import importlib.util
from typing import Any

import pytest
import sacrebleu

from curricle.errors import MissingExtra, RecipeError
from curricle.evaluation.bleu import OURS, bleu, chrf
from curricle.evaluation.words import words

PREDICTIONS = ["나는 오늘 학교에서 밥을 먹었다.", "그는 아침에 학교에 갔다."]
REFERENCES = [["나는 오늘 학교에서 밥을 샀다.", "나는 학교에서 밥을 먹었다."], ["그는 아침에 일찍 학교에 갔다."]]
COLUMNS: list[Any] = [[REFERENCES[0][0], REFERENCES[1][0]], [REFERENCES[0][1], None]]


@pytest.mark.parametrize("tokenizer", ["13a", "char", "intl"])
def test_is_sacrebleu_with_rows_of_unequal_references(tokenizer: str) -> None:
    (score,) = bleu(PREDICTIONS, REFERENCES, tokenizer=tokenizer)
    assert score.value == sacrebleu.corpus_bleu(PREDICTIONS, COLUMNS, tokenize=tokenizer).score
    assert score.value > 0
    assert score.note.startswith("nrefs:var|")
    assert f"tok:{tokenizer}|" in score.note
    assert sacrebleu.__version__ in score.note


def test_chrf_is_sacrebleu() -> None:
    (score,) = chrf(PREDICTIONS, REFERENCES)
    assert score.value == sacrebleu.corpus_chrf(PREDICTIONS, COLUMNS).score
    assert "nc:6|nw:0" in score.note


@pytest.mark.parametrize("tokenizer", OURS)
def test_our_words_are_cut_before(tokenizer: str) -> None:
    cut = words(tokenizer)
    (score,) = bleu(PREDICTIONS, REFERENCES, tokenizer=tokenizer)
    apart = [" ".join(cut(text)) for text in PREDICTIONS]
    columns: list[Any] = [[text and " ".join(cut(text)) for text in column] for column in COLUMNS]
    assert score.value == sacrebleu.corpus_bleu(apart, columns, tokenize="none", force=True).score
    assert score.note.endswith(f", cut before: {cut.note}")


def test_characters_are_sacrebleus_but_for_spaces() -> None:
    (mine,), (theirs,) = (bleu(PREDICTIONS, REFERENCES, tokenizer=name) for name in ("character", "char"))
    assert mine.value == pytest.approx(theirs.value)


@pytest.mark.parametrize("metric", [bleu, chrf])
def test_ends_of_the_scale(metric: Any) -> None:
    assert metric(PREDICTIONS, [[text] for text in PREDICTIONS])[0].value == pytest.approx(100)
    assert metric(["", ""], REFERENCES)[0].value == 0


def test_an_unknown_tokenizer_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"`ko_mecab`.*did you mean `ko-mecab`"):
        bleu(PREDICTIONS, REFERENCES, tokenizer="ko_mecab")


@pytest.mark.skipif(importlib.util.find_spec("mecab_ko") is not None, reason="MeCab is installed")
def test_without_mecab_the_line_to_install_it() -> None:
    with pytest.raises(MissingExtra, match=r"pip install 'sacrebleu\[ko\]'") as error:
        bleu(PREDICTIONS, REFERENCES, tokenizer="ko-mecab")
    assert "\n" not in str(error.value)
    assert isinstance(error.value, builtins.ImportError)
