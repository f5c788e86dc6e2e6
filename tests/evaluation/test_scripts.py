"""Which letters are foreign, by Unicode's scripts."""

from __future__ import annotations

import sys
import unicodedata
from typing import Any

import pytest
import regex

from curricle.errors import RecipeError
from curricle.evaluation.scripts import OTHER, SCRIPTS, Offender, foreign_script, offenders, script_of


def shares(*texts: str, **options: Any) -> tuple[float, float]:
    samples, characters = foreign_script(texts, [], **options)
    return samples.value, characters.value


@pytest.mark.parametrize(
    ("text", "foreign"),
    [
        ("안녕하세요, 여섯 시에 만나요.", ""),
        ("ㅋㅋㅋ ㅠㅠ", ""),
        ("Hello, naïve Café Ł", ""),
        ("Ａｂｃ", ""),
        ("가나다 你好", "你好"),
        ("회의는 六時 입니다", "六時"),
        ("привет", "привет"),
        ("ありがとう カタカナ", "ありがとうカタナ"),
        ("αβγ", "αβγ"),
        ("مرحبا", "مرحبا"),
        ("नमस्ते", "नमसत"),
        ("𠮷 is a Han letter beyond 16 bits", "𠮷"),
        ("#Person1# said 12,345.67 ✅ 😀 👨‍👩‍👧 ★ ㈜ ① ½ € ℃", ""),
        ("カー", "カ"),
        ("", ""),
        ("1234 !?", ""),
    ],
)
def test_the_foreign_letters_of_a_text(text: str, foreign: str) -> None:
    assert "".join(offender.characters for offender in offenders([text])) == "".join(dict.fromkeys(foreign))
    samples, characters = foreign_script([text], [])
    assert samples.value == (100.0 if foreign else 0.0)
    assert (characters.value > 0) == bool(foreign)


def test_texts_and_letters_are_counted_in_percent() -> None:
    samples, characters = foreign_script(["가나 你", "abc", "123", "Привет"], [["x"]] * 4)
    assert samples.per_example.tolist() == [0.0 if i in (1, 2) else 100.0 for i in range(4)]
    assert samples.value == 50.0
    assert characters.weights.tolist() == [3, 3, 0, 6]
    assert characters.per_example == pytest.approx([100 / 3, 0, 0, 100])
    assert characters.value == pytest.approx(100 * 7 / 12)
    assert not samples.higher_is_better
    assert not characters.higher_is_better
    assert "foreign letters: Cyrillic 6, Han 1" in samples.note


def test_nothing_foreign_is_said_too() -> None:
    assert foreign_script(["가"], [])[0].note.endswith(
        "allowed Hangul, Latin, tags such as #Person1# not counted; foreign letters: none"
    )


def test_the_offenders_and_their_letters() -> None:
    found = offenders(["가", "你好你 мир", "x"], ["a", "b", "c"])
    assert found == [Offender(1, "b", "你好мир", {"Han": 3, "Cyrillic": 3})]
    assert offenders(["가", "你"])[0].id == "1"


@pytest.mark.parametrize(
    ("allow", "text", "foreign"),
    [
        (["Hangul"], "안녕 Tom", "Tom"),
        (["Hangul"], "#Person1#은 #PhoneNumber#로 #SSN_2# 갔다", ""),
        (["Hangul"], "#Person 1# 가", "Person"),
        (["hangul", "LATIN", "han"], "안녕 Tom 你好", ""),
        (["Old_Italic", "Canadian Aboriginal"], "𐌀 ᐁ", ""),
        ([], "가", "가"),
        ([], "12 😀", ""),
    ],
)
def test_what_is_allowed_is_said_by_script(allow: list[str], text: str, foreign: str) -> None:
    found = "".join(offender.characters for offender in offenders([text], allow=allow))
    assert found == "".join(dict.fromkeys(foreign))


def test_tags_are_text_only_when_asked() -> None:
    text = "#Person1#은 갔다"
    assert shares(text, allow=["Hangul"]) == (0.0, 0.0)
    assert shares(text, allow=["Hangul"], count_tags=True) == (100.0, pytest.approx(100 * 6 / 9))


@pytest.mark.parametrize(
    ("ignore", "expected"),
    [
        (["東京"], 0.0),
        (["東"], 100.0),
        (["東京", "東京大学"], 0.0),
        (["Tokyo", ""], 100.0),
    ],
)
def test_words_that_may_occur(ignore: list[str], expected: float) -> None:
    text = "그는 東京 사람" if "東京大学" not in ignore else "그는 東京大学 사람"
    assert shares(text, ignore=ignore)[0] == expected


def test_a_word_is_found_however_its_letters_are_composed() -> None:
    name = "Ёлкин"
    assert shares(unicodedata.normalize("NFD", name), ignore=[name]) == (0.0, 0.0)
    assert shares(name, ignore=[unicodedata.normalize("NFD", name)]) == (0.0, 0.0)


def test_an_ignored_word_is_a_word_and_no_pattern() -> None:
    assert shares("中文", ignore=["."])[0] == 100.0
    assert shares("中.文", ignore=["中.文"])[0] == 0.0


@pytest.mark.parametrize(
    ("name", "hint"),
    [("Hangull", "did you mean `Hangul`?"), ("Korean", "did you mean `Hangul`?"), ("Greeek", "`Greek`")],
)
def test_an_unknown_script_is_one_clear_line(name: str, hint: str) -> None:
    with pytest.raises(RecipeError, match=rf"no Unicode script is called `{name}`; .*{regex.escape(hint)}"):
        foreign_script(["가"], [], allow=["Hangul", name])


def test_the_table_of_scripts_is_whole() -> None:
    """Each name is one that Unicode knows, and every letter Python knows belongs to one of them or to all."""
    for name in SCRIPTS:
        regex.compile(rf"\p{{Script={name}}}")
    assert len(SCRIPTS) == len(set(SCRIPTS))
    homely = "".join(rf"\p{{Script={name}}}" for name in (*SCRIPTS, "Common", "Inherited"))
    letters = "".join(c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c).startswith("L"))
    assert regex.findall(rf"[\p{{L}}--[{homely}]]", letters, regex.V1) == []


@pytest.mark.parametrize(
    ("letter", "script"),
    [
        ("가", "Hangul"),
        ("a", "Latin"),
        ("好", "Han"),
        ("ー", "Common"),
        ("Ж", "Cyrillic"),
        ("ひ", "Hiragana"),
        ("\U0010fffd", OTHER),
    ],
)
def test_the_script_of_a_letter(letter: str, script: str) -> None:
    assert script_of(letter) == script
