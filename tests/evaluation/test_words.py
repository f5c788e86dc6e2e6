"""Ways to cut a text."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.tokenizers import DefaultTokenizer

from curricle.errors import MissingExtra, RecipeError
from curricle.evaluation.words import words

KINDS = ["english", "eojeol", "morpheme", "character", "syllable-bigram"]


@settings(deadline=None)
@given(st.text() | st.text("aZ09 é'İK\t\n가-_\ud800"))
def test_english_is_the_default_of_rouge_score(text: str) -> None:
    theirs = DefaultTokenizer(use_stemmer=False).tokenize(text)
    assert words("english")(text) == theirs


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("eojeol", ["나는", "밥을", "먹었다."]),
        ("character", ["나", "는", "밥", "을", "먹", "었", "다", "."]),
        ("syllable-bigram", ["나는", "밥을", "먹었", "었다", "다."]),
        ("morpheme", ["나", "는", "밥", "을", "먹", "었", "다", "."]),
    ],
)
def test_korean(kind: str, expected: list[str]) -> None:
    assert words(kind)(" 나는  밥을\n먹었다.") == expected


def test_a_word_of_one_syllable_is_whole() -> None:
    assert words("syllable-bigram")("그 너") == ["그", "너"]


def test_a_particle_after_a_speakers_tag_is_a_morpheme() -> None:
    assert words("morpheme")("#Person1#은 갔다") == ["#", "Person", "1", "#", "은", "가", "었", "다"]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "english"])
def test_decomposed_text_has_the_same_words(kind: str) -> None:
    text = "나는 밥을 먹었다"
    apart = unicodedata.normalize("NFD", text)
    assert apart != text
    assert words(kind)(apart) == words(kind)(text)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["", " ", "\n\t "])
def test_no_words(kind: str, text: str) -> None:
    assert words(kind)(text) == []


@pytest.mark.parametrize("kind", KINDS)
def test_half_a_character_stops_nothing(kind: str) -> None:
    assert words(kind)("abc \ud800")[0][0] == "a"


def test_the_morphemes_given_out_are_the_callers_own() -> None:
    words("morpheme")("나는 너").clear()
    assert words("morpheme")("나는 너") == ["나", "는", "너"]


def test_the_note_has_the_version_of_the_analyser() -> None:
    import kiwipiepy

    assert kiwipiepy.__version__ in words("morpheme").note
    assert words("character").note == "character"


def test_an_unknown_way_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"`morphemes`.*did you mean `morpheme`"):
        words("morphemes")


def test_without_kiwi_the_line_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kiwipiepy", None)
    with pytest.raises(MissingExtra, match=r"pip install 'curricle\[korean\]'"):
        words("morpheme")
