"""Answers beside their references: matched by id or number, and everything that does not fit counted or refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from curricle.data.config import DataConfig
from curricle.errors import DataError
from curricle.experiments.predictions import Pairs, match, read_predictions

DATA: list[dict[str, Any]] = [
    {"fname": "dev_0", "dialogue": "#Person1#: Hi.", "summary": "a"},
    {"fname": "dev_1", "dialogue": "#Person1#: Ho.", "summary": "b"},
    {"fname": "dev_2", "dialogue": "#Person1#: Hu.", "summary": "c"},
]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, rows: list[dict[str, Any]]) -> str:
    if name.endswith(".csv"):
        with open(name, "w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return name


def matched(predictions: list[dict[str, Any]], data: list[dict[str, Any]] = DATA, **options: Any) -> Pairs:
    write("p.jsonl", predictions)
    write("d.jsonl", data)
    columns = {name: options.pop(name, None) for name in ("id_column", "text_column")}
    allow_missing = options.pop("allow_missing", False)
    settings = DataConfig(train="d.jsonl", eval="d.jsonl", **options)
    return match(read_predictions("p.jsonl", **columns), settings, columns["id_column"], allow_missing)


def answers(order: tuple[int, ...] = (2, 0, 1), id_: str = "fname", text: str = "summary") -> list[dict[str, Any]]:
    return [{id_: f"dev_{i}", text: "ABC"[i]} for i in order]


@pytest.mark.parametrize("name", ["p.jsonl", "p.csv"])
@pytest.mark.parametrize(("id_", "text"), [("fname", "summary"), ("id", "prediction"), ("fname", "prediction")])
def test_by_id_in_the_order_of_the_data(name: str, id_: str, text: str) -> None:
    path = write(name, answers(id_=id_, text=text))
    write("d.jsonl", DATA)
    pairs = match(read_predictions(path), DataConfig(train="d.jsonl", eval="d.jsonl"))
    assert pairs.ids == ["dev_0", "dev_1", "dev_2"]
    assert pairs.predictions == ["A", "B", "C"]
    assert pairs.references == [("a",), ("b",), ("c",)]
    assert pairs.notes == ["references: 1 for 3 rows"]
    assert [file["path"] for file in pairs.files] == [name, "d.jsonl"]


def test_columns_of_other_names() -> None:
    rows = [{"no": i, "out": "ABC"[i]} for i in (1, 0, 2)]
    data = [{"no": i, **{k: v for k, v in row.items() if k != "fname"}} for i, row in enumerate(DATA)]
    assert matched(rows, data, id_column="no", text_column="out").predictions == ["A", "B", "C"]


def test_by_number_is_said() -> None:
    pairs = matched([{"prediction": text} for text in "ABC"])
    assert pairs.predictions == ["A", "B", "C"]
    assert "matched by row number: the predictions have no ids" in pairs.notes
    with pytest.raises(DataError, match=r"no column of ids .* 2 answers, where d.jsonl has 3 rows"):
        matched([{"prediction": text} for text in "AB"])


def test_by_our_own_ids_and_by_numbers() -> None:
    """As curricle writes them: samples of a run go by content, predictions of data without ids by number."""
    from curricle.data.sources import read_examples

    write("d.jsonl", DATA)
    own = [example.id for example in read_examples(DataConfig(train="d.jsonl"))]
    assert matched([{"id": id_, "prediction": t} for id_, t in zip(own, "ABC", strict=True)]).predictions == list("ABC")
    assert matched([{"id": n, "prediction": "ABC"[n - 1]} for n in (3, 1, 2)]).predictions == list("ABC")


def test_missing_answers_are_refused_by_name_or_counted_as_empty() -> None:
    with pytest.raises(
        DataError, match=r"p.jsonl: 2 of 3 rows have no answer \(first: dev_0, dev_2\); --allow-missing"
    ):
        matched(answers((1,)))
    pairs = matched(answers((1,)), allow_missing=True)
    assert pairs.predictions == ["", "B", ""]
    assert "2 of 3 rows have no answer (first: dev_0, dev_2), counted as empty answers" in pairs.notes


def test_repeated_answers() -> None:
    pairs = matched([*answers(), *answers((1,))])
    assert "ids given more than once, with the same answer: 1 (first: dev_1)" in pairs.notes
    with pytest.raises(DataError, match="`dev_1` is answered twice, and not alike"):
        matched([*answers(), {"fname": "dev_1", "summary": "other"}])


def test_empty_and_unknown_answers_are_counted() -> None:
    rows = [*answers((0, 1)), {"fname": "dev_2", "summary": None}, {"fname": "dev_9", "summary": "x"}]
    pairs = matched(rows)
    assert pairs.predictions == ["A", "B", ""]
    assert "empty answers: 1 (first: dev_2)" in pairs.notes
    assert "answers to no row of the data, left out: 1 (first: dev_9)" in pairs.notes


def test_ids_of_other_data() -> None:
    with pytest.raises(DataError, match=r"none of its ids is in d.jsonl; it has x, the data dev_0, dev_1, dev_2"):
        matched([{"fname": "x", "summary": "A"}])


def test_references_of_unequal_number() -> None:
    data = [DATA[0] | {"more": ["a2", "a3"]}, DATA[1], {k: v for k, v in DATA[2].items() if k != "summary"}]
    pairs = matched(answers(), data, references=["summary", "more"])
    assert pairs.references == [("a", "a2", "a3"), ("b",)]
    assert pairs.ids == ["dev_0", "dev_1"]
    assert pairs.notes[:2] == ["references: 1 for 1 row, 3 for 1 row", "rows without a reference, left out: 1"]


def test_references_that_were_not_named_are_asked_for() -> None:
    data = [{k: v for k, v in row.items() if k != "summary"} | {"summary1": "a", "summary2": "b"} for row in DATA]
    pairs = matched(answers(), data)
    assert (
        "the rows have summary1, summary2: are these references too? Then name them in data.references" in pairs.notes
    )
    assert len(matched(answers(), data, references=["summary1", "summary2"]).notes) == 1


def test_data_without_references() -> None:
    with pytest.raises(DataError, match="no row has a reference to compare with"):
        matched(answers(), [{k: v for k, v in row.items() if k != "summary"} for row in DATA])


def test_data_that_names_two_rows_alike() -> None:
    with pytest.raises(DataError, match=r"d.jsonl: several rows have the same id: 1 id \(first: dev_0\)"):
        matched(answers((0, 1)), [DATA[0], DATA[1], DATA[2] | {"fname": "dev_0"}])


@pytest.mark.parametrize(
    ("rows", "columns", "said"),
    [
        (
            [{"id": 1, "text": "A"}],
            {},
            "which column holds the answers? It has `id`, `text`; name one with --text-column",
        ),
        ([{"id": 1, "text": "A"}], {"text_column": "txt"}, "no column `txt` (--text-column); did you mean `text`?"),
        ([{"id": 1, "prediction": "A"}], {"id_column": "fname"}, "no column `fname` (--id-column)"),
        ([{"id": 1, "prediction": ["A"]}], {}, "p.jsonl:1: `prediction` is a list, expected text"),
        ([{"id": 1, "prediction": "A"}, {"prediction": "B"}], {}, "p.jsonl:2: `id` is null, expected an id"),
    ],
)
def test_a_file_of_answers_that_cannot_be_read(rows: list[Any], columns: dict[str, str], said: str) -> None:
    write("p.jsonl", rows)
    with pytest.raises(DataError) as caught:
        read_predictions("p.jsonl", **columns)
    assert said in str(caught.value)


def test_a_broken_line_is_named() -> None:
    Path("p.jsonl").write_text('{"id": 1, "prediction": "A"}\n{"id": 2, "predi\n')
    with pytest.raises(DataError, match=r"p.jsonl:2: not JSON"):
        read_predictions("p.jsonl")


def test_empty_references_are_left_out_and_counted() -> None:
    """An answer to such a row could only score 0."""
    data = [*DATA[:2], DATA[2] | {"summary": " "}]
    found = matched(answers(), data)
    assert (found.ids, found.references) == (["dev_0", "dev_1"], [("a",), ("b",)])
    assert "rows without a reference, left out: 1 (1 of them have only empty ones)" in found.notes
