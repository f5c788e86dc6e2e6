"""What a newcomer runs first: the base is made once, two arms by two seeds learn, and the report says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from curricle.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("libraries")]
RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "quickstart.yaml"


def test_quickstart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", str(RECIPE)]) == 0
    printed = capsys.readouterr()
    assert printed.err.count("toy:base: a small Llama reads") == 1
    assert "quickstart: 1 arm against answers_only" in printed.out
    assert "runs/quickstart/report.html" in printed.out
    compared = json.loads(Path("runs/quickstart/comparison.json").read_bytes())
    cells = {(cell["arm"], cell["metric"]): cell for cell in compared["cells"]}
    answers, everything = (cells[arm, "loss"]["interval"]["mean"] for arm in ("answers_only", "everything"))
    assert answers < 0.6
    assert answers < everything
    assert cells["answers_only", "rouge.rougeL"]["interval"]["mean"] > 55
    assert Path("runs/quickstart/report.html").is_file()
    assert main(["run", str(RECIPE), "--set", "seeds=[0, 1, 2]", "--arms", "answers_only"]) == 0
    again = capsys.readouterr().err
    assert again.count("finished before") == 2
    assert "toy:base" not in again
