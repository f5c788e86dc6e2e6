"""The page of an analysis in a real browser: every chart and table is seen, and nothing is asked of the network."""

from __future__ import annotations

import pytest

import curricle
from curricle.experiments.analysis.shape import Analysis
from experiments.analysis.made_labels import write_made
from slow.browser import NARROW, SEEN, WIDE, Browser

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    folder = tmp_path_factory.mktemp("labels")
    return curricle.analyze(write_made(folder), against=folder / "probe.parquet", output=folder / "out")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_everything_is_seen(page: Browser, analysis: Analysis, width: int, dark: bool) -> None:
    assert analysis.report is not None
    page.open(analysis.report, width, dark=dark)
    found = page.value(SEEN)
    assert len(found["figures"]) == 1 + 4 + 2 + len(analysis.columns)  # along the scores, intervals, layers, spreads
    for figure in found["figures"]:
        assert figure["drawings"] == 1, figure
        assert figure["marks"] >= 1, figure
        assert figure["letters"] >= 9, figure  # pixels of its smallest letters
    assert len(found["tables"]) >= 5
    assert all(table["seen"] and table["rows"] for table in found["tables"])
    assert found["wider"] <= 0
    assert found["outside"] == []
    assert page.complaints() == []
    assert page.requests() == [analysis.report.resolve().as_uri()]
