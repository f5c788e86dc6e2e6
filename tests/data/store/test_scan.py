"""The fast pass over a file finds what reading it line by line finds, and a bad line is named."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curricle.data.store.columns import find, known_columns
from curricle.data.store.scan import JsonLines, Scanned, _parser, read_lines, scan
from curricle.errors import DataError

GOOD = b'{"ok":true,"n":1,"t":"a"}\n'


def scanned(path: Path, names: list[str], part_bytes: int = 1 << 22) -> Scanned:
    handle = os.open(path, os.O_RDONLY)
    try:
        return scan(path, handle, names, part_bytes)
    finally:
        os.close(handle)


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


values = st.fixed_dictionaries(
    {"ok": st.booleans(), "m": st.fixed_dictionaries({"n": st.integers(-(2**40), 2**40), "x": st.floats(-9, 9)})},
    optional={"t": st.text(max_size=5), "other": st.lists(st.text(max_size=4), max_size=3)},
)
ends = st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\n \t\n", b"\r\n\r\n"])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(values, ends), min_size=1, max_size=30), st.booleans(), st.sampled_from([b"", b"\xef\xbb\xbf"])
)
def test_the_fast_way_is_the_exact_way(tmp_path_factory: Any, rows: Any, last_end: bool, mark: bytes) -> None:
    data = mark + b"".join(orjson.dumps(row) + end for row, end in rows)
    path = written(tmp_path_factory.getbasetemp() / "rows.jsonl", data if last_end else data.rstrip())
    handle = os.open(path, os.O_RDONLY)
    file = JsonLines(path, handle)
    wanted = find(["ok", "m.n", "m.x", "t"], known_columns(row for row, _ in rows), "rows.jsonl")
    kinds: Any = {"ok": "bool", "m.n": "int", "m.x": "float", "t": "text"}
    body = file.read(file.begin, file.size)
    fast = _parser(wanted, kinds)(file.begin, memoryview(body), np.empty(len(body), dtype=np.bool_))
    exact = read_lines(file, file.begin, body, wanted, kinds)
    os.close(handle)
    assert fast is not None
    np.testing.assert_array_equal(fast.starts, exact.starts)
    np.testing.assert_array_equal(fast.blanks, exact.blanks)
    for name in kinds:
        np.testing.assert_array_equal(fast.columns[name].values, exact.columns[name].values)
        assert fast.columns[name].texts == exact.columns[name].texts
    assert exact.columns["ok"].values.tolist() == [row["ok"] for row, _ in rows]
    assert [orjson.loads(body[start:].splitlines()[0]) for start in exact.starts] == [r for r, _ in rows]


@pytest.mark.parametrize("part_bytes", [7, 64, 1000, 1 << 22])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_cutting_the_file_changes_nothing(tmp_path: Path, part_bytes: int, end: str) -> None:
    rows = [{"t": f"p{i % 5}", "n": i * i, "long": "é" * (i % 7) * 40} for i in range(60)]
    lines = [json.dumps(row, ensure_ascii=i % 2 == 0) for i, row in enumerate(rows)]
    lines.insert(20, "")
    path = written(tmp_path / "a.jsonl", b"\xef\xbb\xbf" + end.join(lines).encode())
    found = scanned(path, ["t", "n"], part_bytes)
    assert found.num_rows == 60
    assert found.texts == {"t": ["p0", "p1", "p2", "p3", "p4"]}
    assert found.arrays["t"].tolist() == [i % 5 for i in range(60)]
    assert found.arrays["n"].tolist() == [i * i for i in range(60)]
    assert found.arrays[":blanks"].tolist() == [20]
    data, offsets = path.read_bytes(), found.arrays[":offsets"].tolist()
    assert [json.loads(data[a:b]) for a, b in pairwise(offsets)] == rows
    assert scanned(path, []).kinds == {}


@pytest.mark.parametrize(
    ("written_values", "kind", "dtype", "kept"),
    [
        ([1, -3, 100], "int", "int8", [1, -3, 100]),
        ([1, 300], "int", "int16", [1, 300]),
        ([2**40, 0], "int", "int64", [2**40, 0]),
        ([1, None], "int", "float32", [1, np.nan]),
        ([2**24 + 1, None], "int", "float64", [2**24 + 1, np.nan]),
        ([1, 0.5], "float", "float32", [1, 0.5]),
        ([1.0, 2**24 + 1], "float", "float64", [1, 2**24 + 1]),
        ([1, 2**63], "float", "float64", [1, 2.0**63]),
        ([0.5, 2**60 + 1], "float", "float32", [0.5, 2.0**60]),
        ([True, False, None], "bool", "int8", [1, 0, -1]),
        (["b", None, "a", "b"], "text", "int8", [0, -1, 1, 0]),
        ([None, None, True], "bool", "int8", [-1, -1, 1]),
    ],
)
def test_what_a_column_is_kept_as(tmp_path: Path, written_values: Any, kind: str, dtype: str, kept: list[Any]) -> None:
    path = written(tmp_path / "a.jsonl", b"".join(orjson.dumps({"c": v, "z": 1}) + b"\n" for v in written_values))
    found = scanned(path, ["c"])
    assert found.kinds == {"c": kind}
    assert found.arrays["c"].dtype == dtype
    np.testing.assert_array_equal(found.arrays["c"].astype(float), kept)


def test_a_kind_that_only_later_rows_show(tmp_path: Path) -> None:
    """The first 200 rows say whole numbers and nothing; later ones say otherwise, in parts of their own."""
    rows = [{"n": i} for i in range(400)] + [{"n": 0.5, "late": True}] * 2
    path = written(tmp_path / "a.jsonl", b"".join(orjson.dumps(row) + b"\n" for row in rows))
    found = scanned(path, ["n", "late"], part_bytes=100)
    assert found.kinds == {"n": "float", "late": "bool"}
    assert found.arrays["n"][-3:].tolist() == [399, 0.5, 0.5]
    assert found.arrays["late"].tolist() == [-1] * 400 + [1, 1]


def test_names_of_columns(tmp_path: Path) -> None:
    rows = [{"task_id": "two_correct_sums_incorrect_12", "a.b": 1, "a": {"b": 2, "c": {"d": 3}}}]
    path = written(tmp_path / "a.jsonl", orjson.dumps(rows[0]))
    found = scanned(path, ["problem", "task_id", "a.b", "a.c.d"])
    assert found.texts == {"problem": ["two_correct_sums"], "task_id": ["two_correct_sums_incorrect_12"]}
    assert found.arrays["a.b"].tolist() == [1]
    assert found.arrays["a.c.d"].tolist() == [3]
    path = written(tmp_path / "b.jsonl", b'{"task_id": "x_correct_1", "problem": "its own"}')
    assert scanned(path, ["problem"]).texts == {"problem": ["its own"]}


BAD = [
    (b'{"ok":true,"n":1', [], "the last line is cut off"),
    (b'{"ok":true,"n":1}x\n', [], "not JSON: unexpected content after document"),
    (b'{"ok":true} {"ok":true}\n', [], "not JSON"),
    (b'{"ok":\ntrue}\n', [], "not JSON"),
    (b"[1, 2]\n", [], "not an object: found a list, expected {...}"),
    (b"null\n", [], "not an object: found null"),
    (b'{"t":"\xff"}\n', [], "not UTF-8 text; the line begins"),
    (b'{"other":"\xff"}\n', ["ok"], "not UTF-8 text; the line begins"),
    (b"\0\0\0\0\n", [], "not JSON: the line holds NUL bytes"),
    (b'{"t":"a\0b"}\n', [], "not JSON: the line holds NUL bytes"),
    (b'{"ok":1}\n', ["ok"], "`ok` is a number (1), where other rows have true or false"),
    (b'{"ok":"true"}\n', ["ok"], '`ok` is text ("true"), where other rows have true or false'),
    (b'{"n":false}\n', ["n"], "`n` is true or false (false), where other rows have a number"),
    (b'{"n":{"x":1}}\n', ["n"], "`n` is an object; a column holds text, numbers or true and false; name a part of it"),
    (b'{"n":[1]}\n', ["n"], "`n` is a list; a column holds"),
]


@pytest.mark.parametrize("before", [1, 300])
@pytest.mark.parametrize(("line", "names", "says"), BAD, ids=range(len(BAD)))
def test_a_bad_line_is_named(tmp_path: Path, line: bytes, names: list[str], says: str, before: int) -> None:
    """Early, where kinds are guessed, and late, within a part; good rows follow unless the end is the matter."""
    rest = b"" if "last line" in says else GOOD * 3
    path = written(tmp_path / "a.jsonl", GOOD * (before - 1) + b"\n" + GOOD + line + rest)
    with pytest.raises(DataError) as error:
        scanned(path, names, part_bytes=200)
    assert str(error.value).startswith(f"{path}:{before + 2}: ")
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 250 + len(str(path))


def test_the_first_of_several_bad_lines_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", (GOOD * 300 + b"[]\n") * 5)
    with pytest.raises(DataError, match=r"a\.jsonl:301: "):
        scanned(path, ["ok"], part_bytes=500)


@pytest.mark.parametrize(
    ("data", "names", "says"),
    [
        (b"\n  \n\r\n", [], "holds no row, only blank lines"),
        (GOOD * 2, ["okay"], "no row has the column `okay`; did you mean `ok`?"),
        (
            b'{"m":{"difficulty":1}}\n',
            ["difficulty"],
            "no row has the column `difficulty`; did you mean `m.difficulty`?",
        ),
        (GOOD, ["m..n"], "a column needs a name"),
        ("{}".encode("utf-16"), [], "is UTF-16; save it as UTF-8"),
    ],
)
def test_a_file_without_what_was_asked_for(tmp_path: Path, data: bytes, names: list[str], says: str) -> None:
    path = written(tmp_path / "a.jsonl", data)
    with pytest.raises(DataError) as error:
        scanned(path, names)
    assert says in str(error.value)


def test_a_line_of_100_mb(tmp_path: Path) -> None:
    huge = b'{"ok":false,"text":"' + b"x" * 100_000_000 + b'"}\n'
    found = scanned(written(tmp_path / "a.jsonl", GOOD + huge + GOOD), ["ok"])
    assert found.arrays["ok"].tolist() == [1, 0, 1]
    assert np.diff(found.arrays[":offsets"]).tolist() == [len(GOOD), len(huge), len(GOOD)]


def test_a_column_of_too_many_texts_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curricle.data.store.columns.MOST_TEXTS", 50)
    path = written(tmp_path / "a.jsonl", b"".join(b'{"task_id":"p_correct_%d"}\n' % i for i in range(60)))
    with pytest.raises(DataError, match=r"more than 50 different texts.*ask for `problem`"):
        scanned(path, ["task_id"])
    assert scanned(path, ["problem"]).texts == {"problem": ["p"]}
