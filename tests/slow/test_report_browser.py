"""The report in a real browser: every chart and table is seen, the search narrows, nothing is asked of the network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from curricle.experiments.report.write import write_report
from made_runs import ARMS, MadeArm, made_comparison, write_runs
from slow.browser import NARROW, SEEN, WIDE, Browser, opened, search

pytestmark = pytest.mark.slow

MANY = (*ARMS, *(MadeArm(f"an-arm-with-a-rather-long-name-{i}", 2.0, 0.5) for i in range(7)))
CUT = """
[...document.querySelectorAll("table, figure svg, .prompt, .answers")]
  .filter((box) => !box.closest("details:not([open])") && box.getBoundingClientRect().width)
  .filter((box) => box.getBoundingClientRect().right > innerWidth + 1
    || box.matches(".prompt") && box.scrollHeight > box.clientHeight + 4)
  .map((box) => box.className.baseVal ?? box.className)
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_runs(tmp_path_factory.mktemp("two"), examples=25, steps=80)
    return write_report(made_comparison(folder), folder)


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_runs(tmp_path_factory.mktemp("many"), MANY, seeds=(0, 1), examples=6, steps=40)
    return write_report(made_comparison(folder, MANY), folder)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [NARROW, WIDE])
@pytest.mark.parametrize("which", ["report", "crowded"])
def test_everything_is_seen(page: Browser, request: Any, which: str, width: int, dark: bool) -> None:
    path: Path = request.getfixturevalue(which)
    found = opened(page, path, width, dark).value(SEEN)
    written = re.findall(r'<figure class="chart" id="([^"]+)"', path.read_text(encoding="utf-8"))
    assert [figure["id"] for figure in found["figures"]] == written
    assert len(written) == 10
    for figure in found["figures"]:
        assert figure["drawings"] == 1, figure
        assert figure["marks"] >= 2, figure
        assert figure["letters"] >= 9, figure  # pixels of its smallest letters
    assert len(found["tables"]) >= 6
    assert all(table["seen"] and table["rows"] for table in found["tables"])
    assert found["wider"] <= 0
    assert found["outside"] == []
    assert page.complaints() == []
    assert page.requests() == [path.resolve().as_uri()]


@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_the_search_narrows_the_samples(page: Browser, report: Path, width: int) -> None:
    opened(page, report, width)
    items = "document.querySelectorAll('#samples-list > li').length"
    assert page.value(items) == 10
    assert page.value("document.getElementById('samples-count').textContent") == "1 to 10 of 25 examples"
    name = page.value("document.querySelector('#samples-list h3').textContent")
    assert search(page, name) == 1
    assert page.value(items) == 1
    assert page.value("document.querySelector('#samples-list mark').textContent") == name
    assert search(page, "no such words anywhere") == 0
    assert page.value(items) == 0
    assert 0 < search(page, "你好") < 25
    assert search(page, "") == 25


def test_an_arm_can_be_left_out_and_pages_turned(page: Browser, report: Path) -> None:
    opened(page, report, WIDE)
    arms = "[...new Set([...document.querySelectorAll('.answer b')].map((name) => name.textContent))].sort().join()"
    assert page.value(arms) == "curriculum,shuffled"
    page.value("document.querySelector('[data-show=curriculum]').click()")
    assert page.value(arms) == "shuffled"
    page.value("document.querySelector('[data-show=curriculum]').click()")
    first = page.value("document.querySelector('#samples-list h3').textContent")
    page.value("document.querySelector('[data-turn=\"1\"]').click()")
    assert page.value("document.querySelector('#samples-list h3').textContent") != first
    assert page.value("document.getElementById('samples-count').textContent") == "11 to 20 of 25 examples"
    drawn = "[...document.querySelectorAll('figure [data-arm=\"1\"]')].some((part) => part.getClientRects().length)"
    assert page.value(drawn)
    page.value("document.querySelector('[data-toggle=\"1\"]').click()")
    assert not page.value(drawn)
    assert page.complaints() == []


def test_the_order_can_be_chosen(page: Browser, report: Path) -> None:
    opened(page, report, WIDE)
    ids = "[...document.querySelectorAll('#samples-list h3')].map((name) => name.textContent)"
    by_difference = page.value(ids)
    box = "document.getElementById('sort')"
    choose = f"{box}.value = '{{}}', {box}.dispatchEvent(new Event('change'))"
    page.value(choose.format("data"))
    assert page.value(ids) == [f"{i:016x}" for i in range(10)]
    page.value(choose.format("worst"))
    first = "document.querySelector('#samples-list > li').querySelectorAll('.score')"
    scores = f"[...{first}].map((score) => parseFloat(score.textContent))"
    worst = page.value(scores)
    page.value(choose.format("apart"))
    assert page.value(ids) == by_difference
    assert sum(worst) < sum(page.value(scores))


def test_what_models_said_is_never_run(page: Browser, report: Path) -> None:
    opened(page, report, WIDE)
    found = search(page, "<script>alert(")
    assert found > 0
    assert page.value("document.querySelectorAll('#samples-list script, #samples-list img').length") == 0
    assert "<script>alert('" in page.value("document.getElementById('samples-list').textContent")
    assert page.complaints() == []


def test_the_first_samples_are_there_without_javascript(page: Browser, report: Path) -> None:
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        page.open(report, WIDE)
    finally:
        page.call("Emulation.setScriptExecutionDisabled", value=False)
    assert page.value("document.querySelectorAll('#samples-list > li').length") == 5
    assert page.value("getComputedStyle(document.getElementById('samples-controls')).display") == "none"


def test_nothing_is_cut_off_in_print(page: Browser, report: Path) -> None:
    opened(page, report, 690)  # what A4 leaves between the margins
    page.call("Emulation.setEmulatedMedia", media="print")
    assert page.value(CUT) == []
    assert page.value("getComputedStyle(document.querySelector('.controls')).display") == "none"
    assert len(page.call("Page.printToPDF", preferCSSPageSize=True)["data"]) > 50_000
