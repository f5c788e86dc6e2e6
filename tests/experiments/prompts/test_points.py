"""Means, improved prompts and the sign test, by hand and against scipy; open cells stay open."""

from __future__ import annotations

from pathlib import Path

import pytest
from scipy.stats import binomtest

from curricle.experiments.prompts.form import CRITERIA, FORM, blinded, key_path, make_form, parse, write_form, write_key
from curricle.experiments.prompts.points import points_of, read_form, sign_test


def fill(path: Path, points: dict[str, list[str]]) -> None:
    """Rows of cells by model, a row for each prompt."""
    lines = path.read_text().splitlines()
    for name, rows in points.items():
        places = [i for i, line in enumerate(lines) if line == f"| {name} |  |  |  |  |"]
        for place, row in zip(places, rows, strict=True):
            lines[place] = f"| {name} | {' | '.join(row)} |".replace("-", " ")
    path.write_text("\n".join(lines))


def three(path: Path) -> None:
    answers = {name: [f"{name} {i}" for i in range(3)] for name in ("base", "law", "merged")}
    write_form(path, make_form(["a", "b", "c"], answers, base="base"))


def test_means_and_improved_prompts(tmp_path: Path) -> None:
    three(tmp_path / FORM)
    fill(
        tmp_path / FORM,
        {"base": ["3333", "2222", "444-"], "law": ["4333", "1222", "5555"], "merged": ["3333", "----", "5---"]},
    )
    found = read_form(tmp_path / FORM)
    base, law, merged = found.models
    assert (base.improved, base.mean_sum, base.complete) == (None, 10.0, 2)
    assert law.means == pytest.approx({"information": 10 / 3, "logic": 10 / 3, "concision": 10 / 3, "tone": 10 / 3})
    assert (law.improved, law.worsened, law.equal, law.p) == (1, 1, 0, 1.0)  # the third prompt of base is not whole
    assert (merged.improved, merged.worsened, merged.equal, merged.p) == (0, 0, 1, None)
    assert merged.means == {"information": 4.0, "logic": 3.0, "concision": 3.0, "tone": 3.0}
    assert merged.filled == {"information": 2, "logic": 1, "concision": 1, "tone": 1}
    assert (found.open_cells, found.num_cells) == (1 + 4 + 3, 36)
    assert "1 to 1, 0 equal" in str(found)
    assert "points of a person; open cells: 8 of 36" in str(found)


def test_an_empty_form_says_so(tmp_path: Path) -> None:
    three(tmp_path / FORM)
    found = read_form(tmp_path / FORM)
    assert {mean for model in found.models for mean in model.means.values()} == {None}
    assert "nothing is filled in yet; open cells: 36 of 36" in str(found)


@pytest.mark.parametrize("split", [(9, 1), (6, 4), (4, 6), (10, 0), (1, 0), (5, 5), (60, 41)])
def test_the_sign_test_is_the_binomial_one(split: tuple[int, int]) -> None:
    assert sign_test(*split) == pytest.approx(binomtest(split[0], sum(split)).pvalue)


def test_no_difference_has_no_p() -> None:
    assert sign_test(0, 0) is None


def test_a_blind_form_comes_to_the_same(tmp_path: Path) -> None:
    answers = {name: [f"{name} {i}" for i in range(6)] for name in ("base", "law", "merged")}
    whole = make_form(list("abcdef"), answers, base="base")
    hidden, key = blinded(whole, 3)
    path = write_form(tmp_path / FORM, hidden)
    write_key(key_path(path), key)
    # Points by what is answered: 1 + the prompt's place for law, 3 for all others.
    rows = {letter: [] for letter in hidden.models}  # type: dict[str, list[str]]
    for i, entry in enumerate(hidden.entries):
        for letter, text in entry.answers.items():
            rows[letter].append(str(min(5, 1 + i)) * 4 if text.startswith("law") else "3333")
    fill(path, rows)
    found = read_form(path)
    law = found.of("law")
    assert (found.base, law.improved, law.worsened, law.equal) == ("base", 3, 2, 1)
    assert found.of("merged").means == dict.fromkeys(CRITERIA, 3.0)
    assert points_of(whole, "x").models[0].model == found.models[0].model == "base"
    assert parse(path).base is None
