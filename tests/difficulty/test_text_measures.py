"""Measures of text on texts whose answer is known."""

from __future__ import annotations

import math

import pytest

from curricle.data.schema import Example, Message, Where
from curricle.difficulty.text_measures import answer_of, compression, mtld, quality, text_of

HERE = Where("x", 1)


def test_repetition_compresses() -> None:
    assert compression("abc " * 200) < 0.05 < 0.6 < compression("The quick brown fox jumps over one lazy dog.")
    assert math.isnan(compression(""))


def test_mtld_by_hand() -> None:
    # a b a: 2/3 of the words are new, below 0.72: one factor after every three words, read either way.
    assert mtld("a b a a b a") == pytest.approx(3.0)
    assert mtld("one two three four five") == 5
    assert math.isnan(mtld("..."))


def test_richer_words_have_a_larger_mtld() -> None:
    poor, rich = "the cat and the dog " * 20, " ".join(f"word{i % 60}" for i in range(100))
    assert mtld(poor) < 10 < mtld(rich)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("A plain sentence.", "A plain sentence"),
        ("One line.\nAnother line.", "One line.\nOne line."),
        ("He said that it was good.", "He he he he he he."),
        ("Words, and a stop.", "<div>|||###</div>{}."),
        ("그는 좋다고 말했다.", "ㅋ ㅋ ㅋ ㅋ ㅋ"),
    ],
)
def test_quality_prefers_prose(better: str, worse: str) -> None:
    assert 0 <= quality(worse) < quality(better) <= 1
    assert quality("  ") == 0


def test_what_a_row_says() -> None:
    chat = Example("chat", "0" * 16, HERE, references=("yes",), messages=(
        Message("system", "S"), Message("user", "q"), Message("assistant", "yes")))  # fmt: skip
    assert (text_of(chat), answer_of(chat)) == ("q\nyes", "yes")
    plain = Example("plain", "0" * 16, HERE, prompt="p", completion="c", references=("c",))
    assert (text_of(plain), answer_of(plain)) == ("pc", "c")
    raw = Example("text", "0" * 16, HERE, text="t")
    assert (text_of(raw), answer_of(raw)) == ("t", "t")
