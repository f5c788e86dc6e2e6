"""`curricle index` and `curricle select` as a person uses them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from curricle.cli import main

ROWS = [{"text": "é", "ok": i % 2 == 0, "metadata": {"difficulty": i % 5}, "problem": f"p{i % 3}"} for i in range(30)]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("rows.jsonl")
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in ROWS), encoding="utf-8")
    return path


def test_index_says_what_it_holds(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", "rows.jsonl", "--columns", "ok,metadata.difficulty, problem"]) == 0
    shown = capsys.readouterr()
    assert shown.err.startswith("indexed rows.jsonl: 30 rows, ok, metadata.difficulty, problem, in rows.jsonl.curricle")
    first, *rest = shown.out.splitlines()
    assert first.startswith("rows.jsonl: 30 rows, ")
    assert rest == [
        "  ok: 15 true, 15 false",
        "  metadata.difficulty: numbers from 0 to 4",
        "  problem: 3 texts (p0, p1, p2)",
    ]
    assert main(["index", "rows.jsonl"]) == 0
    again = capsys.readouterr()
    assert (again.out, again.err) == (shown.out, "")


def test_select_writes_the_lines_as_they_are(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask = ["select", "rows.jsonl", "--rows", "4", "--shares", "ok:true=0.75,false=0.25", "--cap", "problem=2"]
    assert main([*ask, "--where", "metadata.difficulty=1..3", "-o", "few.jsonl"]) == 0
    assert capsys.readouterr().out.startswith("4 rows of 30; 18 pass the filters\n  ok=true ")
    lines = Path("few.jsonl").read_bytes().splitlines(keepends=True)
    assert set(lines) < {line.replace(b"\r", b"") for line in data.read_bytes().splitlines(keepends=True)}
    rows = [json.loads(line) for line in lines]
    assert sorted(row["ok"] for row in rows) == [False, True, True, True]
    assert all(1 <= row["metadata"]["difficulty"] <= 3 for row in rows)


def test_a_dry_run_writes_nothing(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["select", "rows.jsonl", "--rows", "50", "--dry-run", "-o", "few.jsonl"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "30 rows of 30; 30 pass the filters",
        "rows: 50 asked for, 30 taken of 30 there",
    ]
    assert not Path("few.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--rows", "3"], "name the file to write with -o FILE.jsonl, or ask with --dry-run"),
        (["-o", "few.csv"], "rows are written as JSON Lines; name the output .jsonl, not few.csv"),
        (["-o", "there.jsonl"], "there.jsonl is there already; name another file, or replace it with --force"),
        (["-o", "rows.jsonl", "--force"], "rows.jsonl is the file that the rows come from; name another"),
        (["-o", "few.jsonl", "--shares", "ok:true=1", "--on-shortage", "stop"], "--on-shortage 'stop': known: `error`"),
        (["-o", "few.jsonl", "--rows", "31", "--on-shortage", "error"], "rows: 31 asked for, 30 taken of 30 there"),
        (["-o", "few.jsonl", "--where", "difficulty=1"], "did you mean `metadata.difficulty`?"),
    ],
)
def test_what_is_refused(data: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("there.jsonl").write_text("{}\n", encoding="utf-8")
    before = data.read_bytes()
    assert main(["select", "rows.jsonl", *arguments]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ")
    assert says in line
    assert not Path("few.jsonl").exists()
    assert data.read_bytes() == before


def test_a_bad_line_stops_the_command(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with data.open("a", encoding="utf-8") as handle:
        handle.write('{"ok": tr')
    assert main(["index", "rows.jsonl"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: rows.jsonl:31: the last line is cut off")
    assert [path.name for path in Path().iterdir()] == ["rows.jsonl"]
