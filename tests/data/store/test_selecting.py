"""Filters, shares, counts and caps of a selection, and its account."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from curricle.data.store import Selection, Store, open_store, select
from curricle.errors import DataError, RecipeError

NUM = 2000


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """40 problems; three of ten solutions are right; difficulty 0 to 9; a rating for half of the rows."""
    rows = [
        {
            "problem": f"p{i % 40}",
            "ok": i % 10 < 3,
            "level": (i // 10) % 10,
            "rating": i / 4 if i % 2 else None,
            "source": "cf" if i % 5 else "aizu",
            "seen": True if i % 4 else None,
        }
        for i in range(NUM)
    ]
    path = tmp_path_factory.mktemp("select") / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return open_store(path, ["problem", "ok", "level", "rating", "source", "seen"])


def chosen(store: Store, **settings: Any) -> np.ndarray[Any, Any]:
    return select(store, Selection.model_validate(settings)).indices


I = np.arange(NUM)  # noqa: E741
OK, LEVEL = I % 10 < 3, (I // 10) % 10


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({}, I >= 0),
        ({"ok": True}, OK),
        ({"ok": "false"}, ~OK),
        ({"ok": [True, False]}, I >= 0),
        ({"level": 3}, LEVEL == 3),
        ({"level": [3, "7..8"]}, (LEVEL == 3) | (LEVEL == 7) | (LEVEL == 8)),
        ({"level": "2..4", "ok": True}, (LEVEL >= 2) & (LEVEL <= 4) & OK),
        ({"rating": "400.."}, (I % 2 == 1) & (I / 4 >= 400)),
        ({"rating": "..10.25"}, (I % 2 == 1) & (I / 4 <= 10.25)),
        ({"rating": ".."}, I % 2 == 1),
        ({"source": "aizu"}, I % 5 == 0),
        ({"source": ["aizu", "cf"]}, I >= 0),
        ({"seen": True}, I % 4 > 0),
    ],
)
def test_filters(store: Store, where: Any, expected: Any) -> None:
    assert chosen(store, where=where).tolist() == np.flatnonzero(expected).tolist()


def test_shares_of_two_columns_are_exact(store: Store) -> None:
    settings = {"rows": 101, "shares": {"ok": {True: 0.5, False: 0.5}, "level": {"0..4": 0.7, "5..9": 0.3}}}
    found = chosen(store, **settings)
    assert OK[found].sum() == 51
    assert (LEVEL[found][OK[found]] <= 4).sum() == 36  # 35.7 of 51
    assert (LEVEL[found][~OK[found]] <= 4).sum() == 35


def test_equal_shares(store: Store) -> None:
    found = chosen(store, rows=60, shares={"problem": "equal"})
    assert np.bincount(found % 40).tolist() == [2] * 20 + [1] * 20
    assert (
        np.bincount(LEVEL[chosen(store, rows=50, shares={"level": "equal"}, where={"level": "0..4"})]).tolist()
        == [10] * 5
    )
    assert (I[chosen(store, rows=20, shares={"seen": "equal"})] % 4 > 0).all()


def test_caps_that_earlier_rows_have_used_up_leave_nothing_to_take(store: Store) -> None:
    taken = chosen(store, cap={"problem": 1})
    assert len(taken) == 40
    with pytest.raises(DataError, match="0 taken of 1,960 there"):
        select(store, Selection(rows=10, cap={"problem": 1}), without=taken)
    assert len(select(store, Selection(rows=50, cap={"problem": 2}), without=taken)) == 40


def test_without_a_number_of_rows_the_scarcest_value_decides(store: Store) -> None:
    assert len(chosen(store, shares={"ok": {"true": 0.5, "false": 0.5}})) == 1200
    assert len(chosen(store, shares={"ok": {"true": 0.25, "false": 0.75}})) == 1866
    assert len(chosen(store, shares={"ok": {"true": 1, "false": 0}})) == 600


def test_counts(store: Store) -> None:
    found = chosen(store, counts={"level": {3: 20, "7..9": 5}})
    assert len(found) == 25
    assert (LEVEL[found] == 3).sum() == 20
    assert (LEVEL[found] >= 7).sum() == 5


@pytest.mark.parametrize("cap", [{"problem": 1}, {"problem": 3}, {"problem": 3, "level": 7}, {"rating": 1}])
def test_caps(store: Store, cap: dict[str, int]) -> None:
    found = chosen(store, cap=cap, shares={"ok": "equal"}, rows=50)
    groups = {"problem": found % 40, "level": LEVEL[found], "rating": found[found % 2 == 1]}
    for name, most in cap.items():
        assert np.bincount(groups[name]).max() <= most
    if cap == {"problem": 1}:  # 12 of 40 problems are solved; each problem is in one of the two
        assert len(found) == 40
    else:
        assert len(found) == 50
        assert OK[found].sum() == 25


def test_scarce_rows_are_the_first_to_use_a_cap(tmp_path: Path) -> None:
    """Two right solutions, both of problem a, which has wrong ones too: a cap of 2 must go to the right ones."""
    rows = [{"p": "a", "ok": True}] * 2 + [{"p": "a", "ok": False}] * 50 + [{"p": "b", "ok": False}] * 50
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for seed in range(20):
        found = chosen(open_store(path, ["p", "ok"]), rows=4, shares={"ok": "equal"}, cap={"p": 2}, seed=seed)
        assert found[:2].tolist() == [0, 1]
        assert (found[2:] >= 52).all()


def test_phases_take_no_row_twice_and_share_caps(store: Store) -> None:
    phases = [{"0..4": 0.7, "5..9": 0.3}, {"0..4": 0.3, "5..9": 0.7}, {"0..4": 0.1, "5..9": 0.9}]
    taken = np.empty(0, dtype=np.int64)
    for shares in phases:
        selection = Selection(rows=100, shares={"level": shares}, cap={"problem": 8})
        found = select(store, selection, without=taken).indices
        assert (LEVEL[found] <= 4).sum() == round(100 * shares["0..4"])
        taken = np.concatenate([taken, found])
    assert len(np.unique(taken)) == 300
    assert np.bincount(taken % 40).max() == 8


def test_seeds_differ_and_larger_draws_hold_smaller_ones(store: Store) -> None:
    assert not np.array_equal(chosen(store, rows=50), chosen(store, rows=50, seed=1))
    assert set(chosen(store, rows=50)) < set(chosen(store, rows=90))


def test_an_account_says_what_was_short(store: Store) -> None:
    settings: dict[str, Any] = {"rows": 1500, "shares": {"ok": {"true": 0.5, "false": 0.5}}, "where": {"level": "0..8"}}
    told = select(store, Selection(**settings)).account
    assert (told.num_rows, told.passed, told.asked, told.taken) == (2000, 1800, 1500, 1500)
    assert [(cell.name, cell.asked, cell.available, cell.taken) for cell in told.cells] == [
        ("ok=true", 750, 540, 540),
        ("ok=false", 750, 1260, 960),
    ]
    assert told.remarks() == [
        "ok=true: 750 asked for, 540 taken of 540 there",
        "210 rows more of the other values were taken, by their shares",
    ]
    fewer = select(store, Selection(**settings, on_shortage="fewer")).account
    assert fewer.taken == 540 + 750
    assert fewer.remarks()[-1] == "1,500 rows were asked for, 1,290 taken"
    with pytest.raises(DataError, match="ok=true: 750 asked for, 540 taken of 540 there"):
        select(store, Selection(**settings, on_shortage="error"))


def test_more_rows_than_there_are(store: Store) -> None:
    found = select(store, Selection(rows=5000))
    assert found.indices.tolist() == list(range(NUM))
    assert found.account.remarks() == ["rows: 5,000 asked for, 2,000 taken of 2,000 there"]
    capped = select(store, Selection(rows=100, cap={"problem": 2})).account
    assert capped.remarks() == ["rows: 100 asked for, 80 taken of 2,000 there (at most 2 of each problem)"]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"where": {"level": "99.."}}, "no row passes the filters"),
        ({"where": {"okay": True}}, "no column `okay`; did you mean `ok`"),
        ({"where": {"ok": 1}}, "`ok` of .* is true or false; '1' is neither"),
        ({"where": {"level": "three"}}, "holds numbers; 'three' is none"),
        ({"where": {"level": "5..3"}}, "'5..3' is none, and no range"),
        ({"where": {"source": "codeforce"}}, "no row of .* has `source` 'codeforce'; known: `aizu`, `cf`"),
        ({"shares": {"ok": {"true": 0.5, "false": 0.4}}}, r"shares of `ok` are together 0\.9, not 1"),
        ({"shares": {"level": {"1..3": 0.5, "3..5": 0.5}}}, r"a row can be in 1\.\.3 and in 3\.\.5"),
        ({"shares": {"source": {"cf": 0.5, "acm": 0.5}}}, "no row of .* has `source` 'acm'"),
        ({"shares": {"problem": "equal", "level": "equal", "rating": "equal"}}, "more than 32,767 combinations"),
        ({"counts": {"ok": {"true": 1}, "level": {"1": 1}}}, "counts of 2 columns"),
        ({"counts": {"ok": {"true": 0, "false": 0}}}, "counts of `ok` ask for no row; give at least one"),
        ({"counts": {"ok": {"true": 1}}, "rows": 3}, "leave out `rows` and `shares`"),
    ],
)
def test_what_cannot_be_selected(store: Store, settings: Any, says: str) -> None:
    with pytest.raises((RecipeError, DataError), match=says):
        select(store, Selection.model_validate(settings))


@pytest.mark.parametrize("settings", [{"rows": 0}, {"cap": {"problem": 0}}, {"shares": {"ok": "even"}}, {"row": 3}])
def test_settings_that_mean_nothing(settings: Any) -> None:
    with pytest.raises(ValidationError):
        Selection.model_validate(settings)
