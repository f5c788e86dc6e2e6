"""The report of an experiment that was really run."""

from __future__ import annotations

from pathlib import Path


def test_a_run_ends_in_its_report(small_runs: Path) -> None:
    page = (small_runs / "report.html").read_text(encoding="utf-8")
    for name in ("training-loss", "gradient-norm", "panel-0"):
        assert f'<figure class="chart" id="{name}">' in page
    text = (small_runs / "report.md").read_text(encoding="utf-8")
    assert "untouched was measured as it came, not trained." in text
    assert "| lora | model.adapter.lora_r |" in text
