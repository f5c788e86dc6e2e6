from __future__ import annotations

import csv
import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curricle.data import readers
from curricle.data.readers import BadRow, read_rows
from curricle.errors import DataError

ROWS = [
    {"prompt": "one\ntwo", "completion": "a \u2028 b\x85c\x0bd"},
    {"prompt": 'with "quotes", commas\tand tabs', "completion": "한국어 요약"},
    {"prompt": "", "completion": "last\r\n"},
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    kind = path.name.removesuffix(".gz").rsplit(".", 1)[1]
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    opener = gzip.open if path.name.endswith(".gz") else open
    with opener(path, "wt", encoding="utf-8", newline="") as handle:
        if kind == "jsonl":
            handle.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        elif kind == "json":
            json.dump(rows, handle, ensure_ascii=False, indent=1)
        else:
            writer = csv.DictWriter(
                handle, list(rows[0]), delimiter="\t" if kind == "tsv" else ",", lineterminator="\n"
            )
            writer.writeheader()
            writer.writerows(rows)
    return path


def values(path: Path) -> list[Any]:
    return [row.value for row in read_rows(path)]


def lines(path: Path) -> list[int]:
    return [row.line for row in read_rows(path)]


KINDS = ["jsonl", "json", "csv", "tsv"]


@pytest.mark.parametrize("ending", [*KINDS, *(f"{kind}.gz" for kind in KINDS), "parquet"])
def test_every_kind_gives_the_same_rows(tmp_path: Path, ending: str) -> None:
    assert values(write(tmp_path / f"rows.{ending}", ROWS)) == ROWS


@pytest.mark.parametrize("kind", KINDS)
def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / f"rows.{kind}", ROWS)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert values(path) == ROWS


def test_jsonl_splits_on_line_feeds_alone_and_counts_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes('{"text": "a\u2028b\x85"}\r\n\n{"text": "c"}'.encode())
    assert values(path) == [{"text": "a\u2028b\x85"}, {"text": "c"}]
    assert lines(path) == [1, 3]


def test_a_broken_jsonl_line_is_handed_on_with_its_line_and_the_next_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"text": "a"}\n{"text": \n[1]\n{"text": "\xff"}\n{"text": "b"}\n')
    rows = list(read_rows(path))
    assert [row.line for row in rows] == [1, 2, 3, 4, 5]
    kinds = [row.value.kind if isinstance(row.value, BadRow) else "good" for row in rows]
    assert kinds == ["good", "not JSON", "not an object", "not JSON", "good"]
    assert '{"text":' in str(rows[1].value)
    assert "a list" in str(rows[2].value)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_is_none_is_said_by_its_name(tmp_path: Path, value: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"text": "NaN", "weight": [1, {value}]}}\n')
    [row] = read_rows(path)
    assert isinstance(row.value, BadRow)
    assert f"not JSON: {value} is no JSON value: write null, or leave the field out" in str(row.value)


def test_a_csv_row_is_where_it_starts(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('a,b\n"x\n\ny",1\n\nz,2\n')
    assert values(path) == [{"a": "x\n\ny", "b": "1"}, {"a": "z", "b": "2"}]
    assert lines(path) == [2, 6]


def test_a_csv_cell_may_be_larger_than_pythons_limit(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f"text\n{'x' * 300_000}\n")
    assert len(values(path)[0]["text"]) == 300_000


@pytest.mark.parametrize(
    ("content", "line", "kind"),
    [
        (b"a,b\n1\n3,4\n", 2, "wrong number of columns"),
        (b"a,b\n1,2\n1,2,3\n", 3, "wrong number of columns"),
        (b"a,b\n1,2\n\xff,2\n3,4\n", 3, "not UTF-8"),
        (b'a,b\n1,2\n"x,2\n3,4\n', 3, "not CSV"),
        (b'a,b\n1,2\n"x"y,2\n3,4\n', 3, "not CSV"),
    ],
)
def test_a_broken_csv_row_names_its_line(tmp_path: Path, content: bytes, line: int, kind: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    bad = [(row.line, row.value.kind) for row in read_rows(path) if isinstance(row.value, BadRow)]
    assert bad == [(line, kind)]


def test_reading_goes_on_after_a_broken_csv_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"a,b\n1,2\n\xff,2\n3,4,5\n5,6\n")
    assert [v for v in values(path) if isinstance(v, dict)] == [{"a": "1", "b": "2"}, {"a": "5", "b": "6"}]


@pytest.mark.parametrize("content", [b"a,a\n1,2\n", b"\n1,2\n", b"\xff,b\n1,2\n"])
def test_a_csv_header_must_name_the_columns(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"rows\.csv:1: .*header"):
        list(read_rows(path))


# --- JSON ------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=8,
)
json_rows = st.lists(st.dictionaries(st.text(st.characters(codec="utf-8")), json_values, max_size=4), max_size=6)


@settings(max_examples=120, deadline=None)
@given(rows=json_rows, chunk=st.integers(1, 40), indent=st.sampled_from([None, 0, 3]), ascii_only=st.booleans())
def test_a_json_list_cut_into_any_chunks_reads_as_the_whole(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], chunk: int, indent: int | None, ascii_only: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "chunks.json"
    for wrapped in (rows, {"version": [1, 2], "data": rows, "end": {"x": 12}}):
        path.write_text(json.dumps(wrapped, indent=indent, ensure_ascii=ascii_only), encoding="utf-8")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(readers, "_CHUNK", chunk)
            if rows or wrapped is rows:
                assert [(row.line, row.value) for row in read_rows(path)] == list(enumerate(rows, start=1))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"a": 1},\n{"a": 2}\n{"a": 3}]', r"rows\.json:3: .*expected `,` or `\]`, found `\{`"),
        ('[{"a": 1},\n{"a": 2}', r"rows\.json:2: .*the end of the file"),
        ('[{"a": 1},\n{"a" 2}]' + " " * 50, r"rows\.json:2: not JSON"),
        ('[{"a": NaN}]', "NaN is no JSON value"),
        ('{"a": 1}\n{"a": 2}', "is it JSON Lines"),
        ('[{"a": 1}]\n[{"a": 2}]', "is it JSON Lines"),
        ('{"a": 1, "b": [1, 2]}', "found an object with a, b"),
        ('{"a": [{}], "b": [{}]}', "two lists of rows, `a` and `b`"),
        ("text", r"expected `\[` or `\{`, found `t`"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_broken_json_file_says_where_and_what(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        list(read_rows(path))


def test_a_json_element_that_is_no_object_is_one_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text('[{"a": 1}, "text", {"a": 2}]')
    rows = list(read_rows(path))
    assert [isinstance(row.value, BadRow) for row in rows] == [False, True, False]
    assert rows[1].line == 2


@pytest.mark.parametrize("kind", KINDS)
def test_memory_does_not_grow_with_the_file(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / f"rows.{kind}", [{"text": "word " * 200}] * 6_000)
    assert path.stat().st_size > 6_000_000
    tracemalloc.start()
    count = sum(1 for _ in read_rows(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 6_000
    assert peak < 1_000_000


def test_a_json_error_at_the_start_is_found_without_reading_to_the_end(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text('[{"a" 1}' + ', {"a": 1}' * 600_000 + "]")
    tracemalloc.start()
    with pytest.raises(DataError, match=r"rows\.json:1:"):
        list(read_rows(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


# --- Files -----------------------------------------------------------------------------------------


def test_a_missing_file_names_what_is_there_instead(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl.gz", ROWS)
    with pytest.raises(DataError, match=r"no such data file: .*train\.jsonl; in that folder: train\.jsonl\.gz"):
        read_rows(tmp_path / "train.jsonl")


def test_an_empty_file_a_folder_and_an_unknown_ending_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "folder.jsonl").mkdir()
    for name, message in {
        "empty.jsonl": "is empty",
        "folder.jsonl": "is a folder",
        "rows.xlsx": r"`\.xlsx`; allowed: \.jsonl, \.json",
        "rows": r"`rows`; allowed",
        "rows.parquet.gz": "unpack",
    }.items():
        with pytest.raises(DataError, match=message):
            read_rows(tmp_path / name)


def test_broken_containers_are_one_clear_line(tmp_path: Path) -> None:
    cut = write(tmp_path / "cut.jsonl.gz", ROWS * 50)
    cut.write_bytes(cut.read_bytes()[:-20])
    (tmp_path / "plain.jsonl.gz").write_bytes(b'{"a": 1}\n')
    (tmp_path / "text.parquet").write_bytes(b"not parquet")
    (tmp_path / "wide.jsonl").write_bytes('{"a": 1}'.encode("utf-16"))
    for name, message in {
        "cut.jsonl.gz": "gzip",
        "plain.jsonl.gz": "gzip",
        "text.parquet": "not a readable Parquet file",
        "wide.jsonl": "UTF-16",
    }.items():
        with pytest.raises(DataError, match=message) as caught:
            list(read_rows(tmp_path / name))
        assert "\n" not in str(caught.value)
