"""A release of CodeContests in small: Parquet files in its schema, whose rows a test changes as it likes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

PAIRS = pa.struct([("input", pa.list_(pa.string())), ("output", pa.list_(pa.string()))])
PROGRAMS = pa.struct([("language", pa.list_(pa.int64())), ("solution", pa.list_(pa.string()))])
SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("description", pa.string()),
        ("public_tests", PAIRS),
        ("private_tests", PAIRS),
        ("generated_tests", PAIRS),
        ("source", pa.int64()),
        ("difficulty", pa.int64()),
        ("solutions", PROGRAMS),
        ("incorrect_solutions", PROGRAMS),
        ("cf_contest_id", pa.int64()),
        ("cf_index", pa.string()),
        ("cf_points", pa.float32()),
        ("cf_rating", pa.int32()),
        ("cf_tags", pa.list_(pa.string())),
        ("is_description_translated", pa.bool_()),
        ("untranslated_description", pa.string()),
        ("time_limit", pa.struct([("seconds", pa.int64()), ("nanos", pa.int64())])),
        ("memory_limit_bytes", pa.int64()),
        ("input_file", pa.string()),
        ("output_file", pa.string()),
    ]
)
PYTHON2, CPP, PYTHON3, JAVA = 1, 2, 3, 4


def programs(*found: tuple[int, str]) -> dict[str, list[Any]]:
    return {"language": [code for code, _ in found], "solution": [text for _, text in found]}


def pairs(*found: tuple[str, str]) -> dict[str, list[str]]:
    return {"input": [given for given, _ in found], "output": [asked for _, asked in found]}


def problem(name: str, **changes: Any) -> dict[str, Any]:
    """A problem of Codeforces with two right and one wrong program in Python 3."""
    row = {
        "name": name,
        "description": f"Problem {name}: add two numbers.",
        "public_tests": pairs(("1 2\n", "3\n"), ("2 2\n", "4\n"), ("0 0\n", "0\n")),
        "private_tests": pairs(("5 5\n", "10\n")),
        "generated_tests": pairs(("9 1\n", "10\n")),
        "source": 2,
        "difficulty": 7,
        "solutions": programs((PYTHON3, f"# {name}\nprint(sum(map(int, input().split())))\n"), (PYTHON3, "a = 1")),
        "incorrect_solutions": programs((PYTHON3, "print(3)\n")),
        "cf_contest_id": 1,
        "cf_index": "A",
        "cf_points": 500.0,
        "cf_rating": 800,
        "cf_tags": ["math"],
        "is_description_translated": False,
        "untranslated_description": "",
        "time_limit": {"seconds": 1, "nanos": 500_000_000},
        "memory_limit_bytes": 256_000_000,
        "input_file": "",
        "output_file": "",
    }
    assert set(changes) <= set(row)
    return row | changes


def release(folder: Path, rows_per_group: int = 1000, **splits: list[dict[str, Any]]) -> Path:
    """The files of a release: one a split."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for split, rows in splits.items():
        table = pa.Table.from_pylist(rows, schema=SCHEMA)
        pq.write_table(table, folder / "data" / f"{split}-00000-of-00001.parquet", row_group_size=rows_per_group)
    return folder
