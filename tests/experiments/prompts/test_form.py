"""The form: what is written comes back, whatever stands in an answer; what somebody puts wrong is one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from curricle.errors import DataError, RecipeError
from curricle.experiments.prompts.form import (
    CRITERIA,
    FORM,
    Form,
    blinded,
    key_path,
    make_form,
    parse,
    read_key,
    unblinded,
    write_form,
    write_key,
)
from curricle.experiments.prompts.judge import judged_path

WILD = "## Prompt 2\n\n### base\n| base | 5 | 5 | 5 | 5 |\n````text\nover\n```\n- base: other\n<script>"


def form(num: int = 2) -> Form:
    answers = {"base": ["yes", "", "c"], "law": [WILD, "two\n\n  lines", "c"], "merged": ["yes", "  end ", "한국어"]}
    return make_form(
        ["Is it so?", "Go on:\n`x`", "3"][:num],
        {name: own[:num] for name, own in answers.items()},
        base="base",
        title="dem",
        notes=["made: today"],
    )


def filled(path: Path, *rows: str) -> Path:
    """The form with these rows in place of the open ones of the same models, the first ones first."""
    text = write_form(path, form()).read_text()
    for row in rows:
        name = row.split("|")[1].strip()
        text = text.replace(f"| {name} |  |  |  |  |", row, 1)
    path.write_text(text)
    return path


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    made = form()
    points = {name: dict.fromkeys(CRITERIA) | {"logic": 3} for name in made.models}
    made = replace(
        made, entries=[replace(made.entries[0], points=points), made.entries[1]], filled_by="me", judge="j at u"
    )
    again = parse(write_form(tmp_path / FORM, made))
    assert again == made
    assert again.text() == made.text()
    assert (again.num_cells, again.open_cells) == (24, 21)
    assert "Word for word the answer of base." in made.text()


def test_a_person_fills_it_in_any_editor(tmp_path: Path) -> None:
    path = filled(tmp_path / FORM, "| law | 5 |4|  3  | 1 |", "|merged|1||2||")
    text = path.read_text().replace("- filled by:", "- filled by: Kim")
    path.write_bytes(("\ufeff" + text + "\nA remark, and no more.\n").replace("\n", "\r\n").encode())
    found = parse(path)
    assert found.filled_by == "Kim"
    assert found.entries[0].points["law"] == {"information": 5, "logic": 4, "concision": 3, "tone": 1}
    assert found.entries[0].points["merged"] == {"information": 1, "logic": None, "concision": 2, "tone": None}
    assert set(found.entries[1].points["law"].values()) == {None}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("| law | 6 | 1 | 1 | 1 |", "prompt 1, law, information is `6`; points are whole, 1 to 5"),
        ("| law | 1 | 4.5 | 1 | 1 |", "logic is `4.5`"),
        ("| law | 1 | 1 | good | 1 |", "concision is `good`"),
        ("| law | 1 | 1 | 1 | ５ |", "tone is `５`"),
        ("| law | 1 | 1 | 1 |", "4 cells between `|`, expected 5"),
        ("| low | 1 | 1 | 1 | 1 |", "`low` is no model of this form; it has base, law, merged"),
        ("| base | 1 | 1 | 1 | 1 |", "`base` is here a second time"),
    ],
)
def test_a_bad_row_is_one_line_with_its_number(tmp_path: Path, row: str, said: str) -> None:
    path = write_form(tmp_path / FORM, form())
    lines = path.read_text().splitlines()
    place = lines.index("| law |  |  |  |  |")
    path.write_text("\n".join([*lines[:place], row, *lines[place + 1 :]]))
    with pytest.raises(DataError) as caught:
        parse(path)
    assert str(caught.value).startswith(f"{path}:{place + 1}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("| law |  |  |  |  |\n", "", "prompt 1 has no row of points of law"),
        ("two\n", "three\n", "not those that the form was written with"),
        ("## Prompt 2\n", "## Prompt 3\n", "`## Prompt 3`, expected `## Prompt 2`"),
        ("# Prompt comparison: dem", "# Notes", "no form"),
        ("- models: base, law, merged\n", "", "no line `- models: ...`"),
        ("- base: base\n", "", "`- base: ...` and `- blind: ...`"),
    ],
)
def test_a_form_that_was_changed(tmp_path: Path, before: str, after: str, said: str) -> None:
    path = write_form(tmp_path / FORM, form())
    head, found, rest = (
        path.read_text().rpartition(before) if "Prompt 2" in before else path.read_text().partition(before)
    )
    assert found
    path.write_text(head + after + rest)
    with pytest.raises(DataError) as caught:
        parse(path)
    assert said in str(caught.value), str(caught.value)


def test_blind_and_back(tmp_path: Path) -> None:
    whole = form(3)
    hidden, key = blinded(whole, 1)
    assert (hidden.models, hidden.base) == (["A", "B", "C"], None)
    assert blinded(whole, 1) == (hidden, key)
    assert any(blinded(whole, seed)[1]["prompts"] != key["prompts"] for seed in range(2, 5))
    for entry, own, letters in zip(whole.entries, hidden.entries, key["prompts"], strict=True):  # type: ignore[call-overload]
        assert sorted(letters.values()) == ["base", "law", "merged"]
        assert {letters[letter]: text for letter, text in own.answers.items()} == entry.answers
    path = write_form(tmp_path / FORM, hidden)
    assert not {"law", "merged"} & set(path.read_text().replace(",", " ").split())
    write_key(key_path(path), key)
    assert key_path(judged_path(path)) == key_path(path)
    back = unblinded(parse(path), read_key(key_path(path), hidden))
    assert (back.models, back.base, back.entries) == (whole.models, "base", whole.entries)
    write_key(key_path(path), key | {"form": "other"})
    with pytest.raises(DataError, match="key to another form"):
        read_key(key_path(path), hidden)
    key_path(path).unlink()
    with pytest.raises(DataError, match="the form is blind, and its key is not there"):
        read_key(key_path(path), hidden)


@pytest.mark.parametrize(
    ("answers", "base", "said"),
    [
        ({"base": ["x"], "a|b": ["y"]}, "base", "cannot be called 'a|b'"),
        ({"base": ["x"], "law": []}, "base", "law has 0 answers to 1 prompts"),
        ({"base": ["x"]}, "base", "two models are the least"),
        ({"base": ["x"], "law": ["y"]}, "bass", "the base is `bass`"),
    ],
)
def test_what_makes_no_form(answers: dict[str, list[str]], base: str, said: str) -> None:
    with pytest.raises((RecipeError, DataError)) as caught:
        make_form(["p"], answers, base=base)
    assert said in str(caught.value)
