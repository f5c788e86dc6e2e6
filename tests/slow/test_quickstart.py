"""What a newcomer runs first: the base is made once, two arms by two seeds learn, and the report says so."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from curricle.cli import main
from slow.browser import NARROW, SEEN, WIDE, Browser, opened, search

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("libraries")]
RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "quickstart.yaml"


def look_at(report: Path, page: Browser) -> None:
    """Every chart and table is there, narrow and wide, and the search finds."""
    written = re.findall(r'<figure class="chart" id="([^"]+)"', report.read_text(encoding="utf-8"))
    assert len(written) >= 5
    for width in (NARROW, WIDE):
        found = opened(page, report, width).value(SEEN)
        assert [figure["id"] for figure in found["figures"]] == written
        assert all(figure["drawings"] == 1 and figure["marks"] >= 1 for figure in found["figures"])
        assert len(found["tables"]) >= 5
        assert all(table["seen"] and table["rows"] for table in found["tables"])
        assert (found["wider"], found["outside"]) == (0, [])
        assert search(page, "no such words anywhere") == 0
        assert search(page, "Person1") > 0
    assert page.complaints() == []


def test_quickstart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], page: Browser
) -> None:
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
    look_at(Path("runs/quickstart/report.html"), page)
    assert main(["run", str(RECIPE), "--set", "seeds=[0, 1, 2]", "--arms", "answers_only"]) == 0
    again = capsys.readouterr().err
    assert again.count("finished before") == 2
    assert "toy:base" not in again
