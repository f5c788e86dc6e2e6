"""The text of examples: from where the labels say, from where the user says, or none and why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from curricle.errors import DataError
from curricle.experiments.analysis.read import Table, read_table
from curricle.experiments.analysis.samples import LONGEST, find_texts
from experiments.analysis.made_labels import write_made, write_rows


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return read_table([write_made(tmp_path)], "probe")[0]


def wanted(table: Table) -> list[str]:
    return [table.ids[i].decode() for i in (5, 190)]


def test_text_comes_from_the_file_that_was_labelled(table: Table, tmp_path: Path) -> None:
    found, note = find_texts(table, wanted(table), None, None, ())
    assert found[wanted(table)[1]] == [("prompt", "question 190 <b>"), ("completion", "answer 190")]
    assert note == f"text from {tmp_path / 'rows.jsonl'}"


def test_a_file_that_has_changed_is_not_read(table: Table, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    kept = rows.read_text(encoding="utf-8")
    rows.write_text(kept + "\n", encoding="utf-8")
    assert find_texts(table, wanted(table), None, None, ()) == (
        {},
        f"no text: {rows} has changed since it was labelled; --data or --recipe names the rows",
    )
    rows.unlink()
    found, note = find_texts(table, wanted(table), None, None, ())
    assert (found, "is not there any more" in note) == ({}, True)


def test_rows_that_moved_are_named(table: Table, tmp_path: Path) -> None:
    moved = (tmp_path / "rows.jsonl").rename(tmp_path / "elsewhere.jsonl")
    found, note = find_texts(table, wanted(table), moved, None, ())
    assert (len(found), note) == (2, f"text from {moved}")
    lines = moved.read_text(encoding="utf-8").splitlines(keepends=True)
    moved.write_text("".join(lines[:100]), encoding="utf-8")
    found, note = find_texts(table, wanted(table), moved, None, ())
    assert (len(found), note) == (1, f"text from {moved}, which lacks 1 of these 2 rows")


def test_a_recipe_says_how_rows_are_read(table: Table, tmp_path: Path) -> None:
    """Other column names: the ids are the same."""
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    lines = (json.dumps({"frage": row["prompt"], "antwort": row["completion"]}) for row in rows)
    (tmp_path / "renamed.jsonl").write_text("\n".join(lines), encoding="utf-8")
    recipe = tmp_path / "recipe.yaml"
    data = {"train": str(tmp_path / "renamed.jsonl"), "format": "prompt-completion"}
    data["fields"] = {"prompt": "frage", "completion": "antwort"}
    recipe.write_text(json.dumps({"model": {"name_or_path": "nano:llama"}, "data": data}), encoding="utf-8")
    found, note = find_texts(table, wanted(table), None, recipe, ())
    assert (len(found), note) == (2, f"text from {recipe}")


def test_other_rows_are_refused(table: Table, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"prompt": "a", "completion": "b"}), encoding="utf-8")
    with pytest.raises(DataError, match="belongs to other data: it has none of the 2 examples"):
        find_texts(table, wanted(table), other, None, ())


def test_a_long_message_is_cut_and_says_so(tmp_path: Path) -> None:
    path = write_made(tmp_path)
    long = tmp_path / "long.jsonl"
    row = {"prompt": "x" * (LONGEST + 1234), "completion": "y"}
    long.write_text(json.dumps(row), encoding="utf-8")
    from curricle.data.config import DataConfig
    from curricle.data.sources import read_examples

    [example] = read_examples(DataConfig(train=str(long)), "train")
    found, _ = find_texts(read_table([path], "probe")[0], [example.id], long, None, ())
    (_, said), (_, answer) = found[example.id]
    assert (said, answer) == (f"{'x' * LONGEST}… (1,234 more letters)", "y")


def test_made_rows_have_ids_of_their_own(tmp_path: Path) -> None:
    assert len(set(write_rows(tmp_path / "rows.jsonl"))) == 200
