"""`curricle analyze` on the command line: what it prints, and mistakes in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from curricle.cli import main
from experiments.analysis.made_labels import write_made


def test_tables_are_printed_and_the_page_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_made(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["analyze", "labels.parquet", "--against", "probe.parquet", "-o", "report"]) == 0
    shown = capsys.readouterr().out
    for part in (
        "Scores",
        "Layers",
        "Agreement",
        "Against `probe`",
        "The source's lines",
        "Hardest by mean",
        "In short",
    ):
        assert f"\n{part}" in shown
    assert shown.rstrip().endswith("report: report/report.html")
    assert sorted(path.name for path in Path("report").iterdir()) == ["analysis.json", "report.html"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.parquet"], "there is no label file none.parquet"),
        (["labels.parquet", "--against", "labels.parquet"], "has no column `probe`"),
        (["labels.parquet", "--target", "hardness"], "--target hardness: the labels have no such column"),
        (["labels.parquet", "-o", "."], "is not empty, and holds no analysis"),
        (["labels.parquet", "labels.parquet"], "is named twice"),
        (["labels.parquet", "--data", "gone.jsonl"], "no such data file: gone.jsonl"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    write_made(tmp_path)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main(["analyze", *arguments]) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert said in line
