"""Opening a file through its index, reading rows by number, and what happens to the index when the file changes."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curricle.data.store import Store, open_store
from curricle.data.store.index_file import ENDING
from curricle.errors import DataError, RecipeError
from curricle.runtime.cache import locked

COLUMNS = ["is_correct", "metadata.difficulty", "metadata.source", "problem"]


def rows_of(num: int) -> list[dict[str, Any]]:
    return [
        {
            "input": "é" * (i % 50),
            "task_id": f"p{i % 7}_{'in' * (i % 2)}correct_{i}",
            "is_correct": i % 2 == 0,
            "metadata": {"difficulty": i % 11, "source": ["cf", "aizu"][i % 2], "tags": None},
        }
        for i in range(num)
    ]


ROWS = rows_of(3000)


def jsonl(path: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def parquet(path: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=700)
    return path


@pytest.fixture(params=["jsonl", "parquet"])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return (jsonl if request.param == "jsonl" else parquet)(tmp_path / f"rows.{request.param}")


def test_columns(data: Path) -> None:
    with open_store(data, COLUMNS) as store:
        assert len(store) == store.num_rows == 3000
        assert store.kinds == dict(zip(COLUMNS, ("bool", "int", "text", "text"), strict=True))
        assert store.column("is_correct").dtype == np.bool_
        assert store.column("is_correct").tolist() == [row["is_correct"] for row in ROWS]
        assert store.column("metadata.difficulty").tolist() == [row["metadata"]["difficulty"] for row in ROWS]
        assert store.texts("metadata.source") == ["cf", "aizu"]
        assert store.column("problem").tolist() == [i % 7 for i in range(3000)]
        assert store.bytes_per_row <= 24
        assert not store.column("problem").flags.writeable


@pytest.mark.parametrize("order", ["forward", "backward", "shuffled", "repeated", "sparse", "none"])
def test_rows_by_number(data: Path, order: str) -> None:
    shuffled = np.random.default_rng(0).permutation(3000)
    indices = {
        "forward": np.arange(3000), "backward": np.arange(3000)[::-1], "shuffled": shuffled,
        "repeated": np.array([5, 5, 2999, 0, 5]), "sparse": np.sort(shuffled[:40]), "none": [],
    }[order]  # fmt: skip
    with open_store(data) as store:
        assert list(store.rows(indices)) == [ROWS[i] for i in indices]
        assert [row.line for row in store.read(indices)] == [i + 1 for i in indices]
        assert [json.loads(line) for line in store.raw(indices)] == [ROWS[i] for i in indices]


def test_lines_are_counted_with_blank_ones_and_bad_rows_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n" + b'{"a":1}\n' * 300 + b'\n\n{"a":NaN}\r\n{"a":3}')
    store = open_store(path)
    assert [row.line for row in store.read([0, 299, 300, 301])] == [2, 301, 304, 305]
    assert next(store.rows([301])) == {"a": 3}
    with pytest.raises(DataError, match=r"a\.jsonl:304: not JSON: unexpected character"):
        list(store.rows([0, 300]))


@pytest.mark.parametrize(
    ("indices", "says"),
    [([0, 3000], "row 3000 .* has rows 0 to 2999"), ([-1], "row -1"), ([0.5], "whole numbers"), ([[1]], "in a list")],
)
def test_rows_that_are_not_there(data: Path, indices: Any, says: str) -> None:
    with open_store(data) as store, pytest.raises(RecipeError, match=says):
        list(store.rows(indices))


def test_names_that_are_not_there(data: Path) -> None:
    with open_store(data, ["is_correct"]) as store:
        with pytest.raises(RecipeError, match="no column `is_corect`; did you mean `is_correct`"):
            store.column("is_corect")
        with pytest.raises(RecipeError, match="holds bool, not text"):
            store.texts("is_correct")
    with pytest.raises(DataError, match=r"no row has the column `difficulty`; did you mean `metadata\.difficulty`"):
        open_store(data, ["difficulty"])
    with pytest.raises(DataError, match="`metadata`"):
        open_store(data, ["metadata"])
    with pytest.raises(DataError, match="was closed"):
        list(store.rows([0]))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("a.jsonl.gz", "gunzip -k a.jsonl.gz"),
        ("a.csv", "need a .jsonl or .parquet file"),
        ("missing.jsonl", "no such data file"),
        ("empty.jsonl", "is empty"),
        ("broken.parquet", "not a readable Parquet file"),
    ],
)
def test_files_that_have_no_rows_by_number(tmp_path: Path, name: str, says: str) -> None:
    if name != "missing.jsonl":
        (tmp_path / name).write_bytes(b"" if name.startswith("empty") else b"PAR1 and no more")
    with pytest.raises(DataError, match=says):
        open_store(tmp_path / name)


def test_a_store_in_another_process(data: Path) -> None:
    store = open_store(data, COLUMNS)
    again: Store = pickle.loads(pickle.dumps(store))
    assert list(again.rows([7])) == [ROWS[7]]
    assert again.kinds == store.kinds


# --- the index --------------------------------------------------------------------------------------


def indexed(capsys: pytest.CaptureFixture[str]) -> int:
    """How many indexes were made since this was last asked."""
    return capsys.readouterr().err.count("indexed ")


def test_an_index_is_made_once_and_grows(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_store(data, ["is_correct"])
    assert indexed(capsys) == 1
    open_store(data, ["is_correct"])
    open_store(data)
    assert indexed(capsys) == 0
    assert list(open_store(data, "problem").kinds) == ["is_correct", "problem"]
    assert indexed(capsys) == 1
    assert data.with_name(data.name + ENDING).is_file()


@pytest.mark.parametrize("change", ["longer", "same size", "same size and time", "touched"])
def test_a_changed_file_is_indexed_anew(tmp_path: Path, change: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = jsonl(tmp_path / "a.jsonl", ROWS[:50])
    store = open_store(path, ["is_correct"])
    about = path.stat()
    text = path.read_text(encoding="utf-8")
    if change == "longer":
        path.write_text(text + json.dumps(ROWS[0]) + "\n", encoding="utf-8")
    elif change != "touched":
        path.write_text(text.replace("true", "null"), encoding="utf-8")
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns + (0 if "time" in change else 1)))
    if "time" not in change:
        with pytest.raises(DataError, match=r"a\.jsonl changed after it was opened"):
            list(store.rows([0]))
    indexed(capsys)
    again = open_store(path, ["is_correct"])
    assert indexed(capsys) == 1
    assert again.num_rows == 50 + (change == "longer")
    expected = [-1, 0] if "same" in change else [1, 0]
    assert again.column("is_correct")[:2].tolist() == expected


def test_a_file_replaced_while_it_is_open_is_read_as_it_was(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", ROWS[:5])
    store = open_store(path)
    os.replace(jsonl(tmp_path / "b.jsonl", ROWS[5:10]), path)
    assert list(store.rows([0])) == [ROWS[0]]
    assert list(open_store(path).rows([0])) == [ROWS[5]]


@pytest.mark.parametrize("keep", [0, 10, 40, -1])
def test_a_broken_index_is_made_anew(data: Path, keep: int, capsys: pytest.CaptureFixture[str]) -> None:
    open_store(data, COLUMNS)
    side = data.with_name(data.name + ENDING)
    side.write_bytes(side.read_bytes()[:keep])
    indexed(capsys)
    assert open_store(data, COLUMNS).column("is_correct")[:2].tolist() == [True, False]
    assert indexed(capsys) == 1


@pytest.mark.parametrize("part", [b'"arrays"', b'"at"', b'"dtype"', b'"num_rows":3', b'"is_correct"', b'"kinds"'])
def test_an_index_with_a_damaged_header_is_made_anew(
    data: Path, part: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    open_store(data, COLUMNS)
    side = data.with_name(data.name + ENDING)
    held = side.read_bytes()
    assert part in held
    side.write_bytes(held.replace(part, part[:-1] + bytes([part[-1] ^ 1]), 1))
    indexed(capsys)
    assert open_store(data, COLUMNS).num_rows == 3000
    assert indexed(capsys) == 1


def test_a_folder_for_the_index(data: Path, tmp_path: Path) -> None:
    open_store(data, folder=tmp_path / "kept" / "here")
    assert (tmp_path / "kept" / "here" / (data.name + ENDING)).is_file()
    assert not data.with_name(data.name + ENDING).exists()


def run(code: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment},
    )  # fmt: skip


OPEN = """
import sys
from curricle.data.store import open_store
print("ready", flush=True)
print(open_store(sys.argv[1], ["is_correct"]).num_rows)
"""


def test_two_processes_that_need_an_index_make_one(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl")
    with locked(path.with_name(path.name + ENDING)):
        both = [run(OPEN, path) for _ in range(2)]
        for process in both:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)  # both have looked for an index by now, and wait for their turn
        assert not path.with_name(path.name + ENDING).exists()
    said = [process.communicate(timeout=60) for process in both]
    assert [out for out, _ in said] == ["3000\n"] * 2
    assert sum(err.count("indexed ") for _, err in said) == 1


FULL = """
import resource, sys
from curricle.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
sys.exit(main(["index", sys.argv[1]]))
"""


def test_a_disk_that_takes_no_more(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl")
    process = run(FULL, path)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said == f"error: cannot write {path}{ENDING}: File too large; nothing was replaced.\n"
    assert [file.name for file in tmp_path.iterdir()] == ["a.jsonl"]


READ_ONLY = """
import os, sys
import pyarrow.compute, pyarrow.json, concurrent.futures.thread, encodings.idna
from curricle.data.store import open_store
if os.geteuid() == 0:
    os.seteuid(65534)  # root writes anywhere
store = open_store(sys.argv[1], ["is_correct"])
print(store.num_rows, open_store(sys.argv[1]).kinds)
"""


def test_a_folder_that_cannot_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "cache").mkdir(mode=0o777)
        (folder / "cache").chmod(0o777)
        jsonl(folder / "a.jsonl").chmod(0o444)
        folder.chmod(0o555)
        process = run(READ_ONLY, folder / "a.jsonl", CURRICLE_CACHE=str(folder / "cache"))
        out, said = process.communicate(timeout=60)
        assert out == "3000 {'is_correct': 'bool'}\n", said
        assert said.count("indexed ") == 1
        assert len(list((folder / "cache" / "index").iterdir())) == 1
        assert {file.name for file in folder.iterdir()} == {"a.jsonl", "cache"}
        folder.chmod(0o755)
