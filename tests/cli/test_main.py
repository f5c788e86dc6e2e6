"""One line and an exit code: what a person, or a script, sees when something does not go well."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from curricle.cli import main
from curricle.cli.options import integers, names
from curricle.errors import RecipeError

IN_THE_MIDDLE = """
import sys
def hook(event, arguments):
    if event == "open" and str(arguments[0]).endswith("rows.jsonl"):
        raise {error}
sys.addaudithook(hook)
from curricle.cli import main
sys.exit(main(["init", "rows.jsonl"]))
"""


def happens_while_reading(error: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """`curricle init`, with an error raised at the moment it opens its file."""
    (folder / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n', encoding="utf-8")
    code = IN_THE_MIDDLE.format(error=error)
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fly"], ["No such command 'fly'", "see `curricle --help`"]),
        (["run"], ["Missing argument 'RECIPE'", "see `curricle run --help`"]),
        (["run", "missing.yaml"], ["missing.yaml"]),
        (["run", "missing.yaml", "--seeds", "one"], ["--seeds", "'one'"]),
        (["run", "recipe.yaml", "--sets", "a=1"], ["--sets", "--set"]),
        (["train", "missing.yaml"], ["missing.yaml"]),
        (["init", "missing.jsonl"], ["missing.jsonl"]),
        (["prepare", "dialogsun", ".", "-o", "out"], ["dialogsun", "dialogsum"]),
        (["prepare", "dialogsum", "missing", "-o", "out"], ["missing"]),
        (["export", "missing", "-o", "out"], ["missing"]),
        (["inspect", "masks", "missing.yaml"], ["missing.yaml"]),
        (["inspect", "masks", "missing.yaml", "--rows", "0"], ["--rows", "1"]),
        (["inspect", "packing", "missing.yaml"], ["missing.yaml"]),
        (["inspect", "order", "missing.yaml"], ["missing.yaml"]),
        (["inspect", "data", "missing.yaml"], ["missing.yaml"]),
        (["schema", "-o", "/dev/null/schema.json"], ["/dev/null/schema.json"]),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str],
    said: list[str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    [line] = shown.err.splitlines()
    assert line.startswith("error: ")
    assert all(part in line for part in said), line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [[], ["inspect"]])
def test_a_bare_group_shows_what_it_has(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "Commands:" in capsys.readouterr().out


def test_ctrl_c_is_one_line(tmp_path: Path) -> None:
    done = happens_while_reading("KeyboardInterrupt", tmp_path)
    assert (done.returncode, done.stderr) == (130, "error: interrupted\n")


def test_a_bug_keeps_its_traceback(tmp_path: Path) -> None:
    done = happens_while_reading("ZeroDivisionError('a bug')", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback (most recent call last):")
    assert done.stderr.endswith("ZeroDivisionError: a bug\n")


def test_a_reader_that_left_is_no_error() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as closed:
        command = [sys.executable, "-m", "curricle", "schema"]
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("curricle 0.")


def test_comma_lists() -> None:
    assert names(None) is None
    assert names("a, b,") == ["a", "b"]
    assert integers(None) is None
    assert integers("0,1, 12") == [0, 1, 12]
    with pytest.raises(RecipeError, match="'0;1'"):
        integers("0;1")


def test_among_several_processes_an_error_names_its_rank(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert main(["train", "missing.yaml"]) == 2
    assert capsys.readouterr().err.startswith("error (rank 1): ")
