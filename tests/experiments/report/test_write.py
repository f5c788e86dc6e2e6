"""The two pages: whole, the same figures in both, and nothing in them that a model could have slipped in."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from curricle.experiments.comparison.shape import Comparison
from curricle.experiments.report.write import write_report
from made_runs import ARMS, MadeArm, made_comparison, write_runs

HOSTILE = "</script><script>alert('own')</script><img src=x onerror=alert(1)>"
SECTIONS = ["results", "domains", "checks", "open", "arms", "compute", "charts", "foreign-1", "samples", "provenance"]
CURVES = ["training-loss", "heldout-loss", "marks", "gradient-norm", "during-0"]


class Page(HTMLParser):
    """What a browser would see: elements, their ids, and the text of each script, style and cell."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.attributes: set[str] = set()
        self.texts: list[tuple[str, str]] = []
        self._open = ""
        self.policy = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self._open = tag
        given = dict(attributes)
        self.attributes |= set(given)
        if given.get("id"):
            self.ids.append(str(given["id"]))
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = str(given["content"])

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open, data))

    def all_of(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag and text.strip()]


def write(folder: Path, comparison: Comparison | None = None) -> tuple[Page, str]:
    path = write_report(comparison or made_comparison(folder), folder)
    assert path == folder / "report.html"
    return Page(path.read_text(encoding="utf-8")), (folder / "report.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_runs(tmp_path_factory.mktemp("made"), steps=60)


@pytest.fixture(scope="module")
def pages(folder: Path) -> tuple[Page, str]:
    comparison = replace(made_comparison(folder), warnings=["less than fair: `torch` 2.13 | 2.12"])
    return write(folder, comparison)


def test_every_part_is_there_in_its_order(pages: tuple[Page, str]) -> None:
    page, markdown = pages
    assert [name for name in page.ids if name in SECTIONS] == SECTIONS
    assert [name for name in page.ids if name in CURVES] == CURVES
    assert len([name for name in page.ids if re.fullmatch(r"panel-\d+", name)]) == 5
    assert len(page.ids) == len(set(page.ids))
    heads = re.findall(r"^## (.*)$", markdown, re.MULTILINE)
    assert heads == [
        *("Less than fair", "Results", "By domain", "Checks", "What could not be concluded", "What differs"),
        *("What each arm cost", "Held-out loss at equal tokens", "Answers in a foreign script", "Side by side"),
        "Where it comes from",
    ]


def test_both_pages_say_the_same_of_every_cell(folder: Path, pages: tuple[Page, str]) -> None:
    page, markdown = pages
    cells = made_comparison(folder).cells
    assert len(cells) == 10
    seen = " ".join(" ".join(text for _, text in page.texts).split())
    rows = [line.split(" | ") for line in markdown.splitlines() if re.match(r"\| \S+ \((higher|lower)", line)]
    assert len(rows) == 10
    for _, arm, mean, *rest in rows:
        assert mean in seen
        if arm != "shuffled":
            assert rest[0] in seen
            assert rest[2].rstrip(" |") in seen


def test_the_page_lets_nothing_run_but_its_own_script(folder: Path, pages: tuple[Page, str]) -> None:
    page, _ = pages
    text = (folder / "report.html").read_text(encoding="utf-8")
    parts = dict(part.strip().split(" ", 1) for part in page.policy.split(";"))
    assert parts["default-src"] == parts["base-uri"] == parts["form-action"] == "'none'"
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        [content] = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert parts[rule] == f"'sha256-{digest}'"
    assert page.tags["script"] == 2  # our own, and the block of samples
    assert not page.attributes & {"style", "src", "srcset", "onclick", "onerror", "onload", "background"}
    assert not page.tags.keys() & {"link", "img", "iframe", "object", "embed", "base", "form", "image", "use"}
    assert "http://" not in text
    assert "https://" not in text


def test_answers_are_text_whatever_they_hold(folder: Path, pages: tuple[Page, str]) -> None:
    page, markdown = pages
    answers = [text for text in page.all_of("p") if "<script>alert(" in text]
    assert answers, "the hostile answers are among the first"
    assert all("</script>" in text and "<img" in text for text in answers)
    for line in markdown.splitlines():
        assert "<script>" not in line or line.startswith("    ")


def test_names_from_a_recipe_are_text_too(tmp_path: Path) -> None:
    arms = (ARMS[0], MadeArm("a<b>&\"'`|_x_", 2.0, 0.5, {"curriculum": {"strategy": HOSTILE}}))
    write_runs(tmp_path, arms, seeds=(0, 1), steps=8, examples=3)
    comparison = replace(
        made_comparison(tmp_path, arms, ()), name=HOSTILE, warnings=[HOSTILE], open_questions=[HOSTILE]
    )
    comparison.domains[0] = replace(comparison.domains[0], domain=HOSTILE)
    page, markdown = write(tmp_path, comparison)
    assert page.tags["script"] == 2
    assert page.tags["img"] == 0
    assert page.all_of("h1") == [HOSTILE]
    assert any("a<b>&\"'`|_x_" in text for text in page.all_of("text"))
    assert not re.search(r"^(?!    ).*(?<!\\)<script", markdown, re.MULTILINE)
    table = [line for line in markdown.splitlines() if line.startswith("| ") and "a\\<b" in line]
    assert table
    assert all(len(re.findall(r"(?<!\\)\|", line)) > 2 for line in table)


def test_every_chart_is_drawn_for_wide_and_narrow_and_has_a_table(folder: Path, pages: tuple[Page, str]) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    figures = re.findall(r'<figure class="chart" id="([^"]+)">(.*?)</figure>', text, re.DOTALL)
    assert [name for name, _ in figures][:5] == CURVES
    for name, figure in figures:
        kinds = re.findall(r'<svg class="(\w+)" viewBox="0 0 \d+ \d+" role="img" aria-labelledby', figure)
        if name.startswith("panel"):
            assert kinds == ["panel"]
        else:
            assert kinds == ["wide", "narrow"]
            assert "<td" in figure
        assert "nan" not in figure.lower()
        assert "inf" not in figure.lower()


def test_verdicts_are_words_with_a_sign_beside(folder: Path, pages: tuple[Page, str]) -> None:
    verdicts = [cell.difference.verdict for cell in made_comparison(folder).cells if cell.difference]
    text = (folder / "report.html").read_text(encoding="utf-8")
    shown = re.findall(r'<td class="verdict [\w-]+"><i aria-hidden="true">.</i>([\w ]+)</td>', text)
    assert shown == [*verdicts, *(check.outcome for check in made_comparison(folder).checks)]


def test_a_check_that_is_not_met_says_what_to_do_otherwise(pages: tuple[Page, str]) -> None:
    page, markdown = pages
    assert "Go back to the \\<b\\>phase\\</b\\> before." in markdown
    assert any("Go back to the <b>phase</b> before." in text for _, text in page.texts)


def test_an_untrained_model_and_a_step_without_a_norm(tmp_path: Path) -> None:
    arms = (MadeArm("skips", 2.0, 0.5), MadeArm("untouched", 3.0, 0.2, {"trainer": "none"}))
    write_runs(tmp_path, arms, seeds=(0, 1), steps=8, examples=3)
    page, markdown = write(tmp_path, made_comparison(tmp_path, arms, ()))
    assert any("2 steps without a finite value cannot be drawn" in text for text in page.all_of("p"))
    assert "untouched was measured as it came, not trained." in markdown


def test_runs_without_answers_logs_or_scores(tmp_path: Path) -> None:
    write_runs(tmp_path, seeds=(0,), steps=4, examples=2)
    for name in ("samples_eval.jsonl", "metrics.jsonl", "heldout.jsonl", "scores.json"):
        for path in tmp_path.glob(f"*/*/{name}"):
            path.unlink()
    page, markdown = write(tmp_path, made_comparison(tmp_path, checks=()))
    assert [name for name in page.ids if name in SECTIONS] == [
        "results",
        "domains",
        "open",
        "arms",
        "compute",
        "charts",
        "provenance",
    ]
    assert [name for name in page.ids if name in CURVES] == []
    assert "## Side by side" not in markdown


def test_one_arm_alone(tmp_path: Path) -> None:
    write_runs(tmp_path, ARMS[:1], seeds=(0,), steps=4, examples=2)
    page, markdown = write(tmp_path, made_comparison(tmp_path, ARMS[:1], ()))
    assert "is the only arm" in markdown
    assert "verdict" not in " ".join(page.all_of("th"))
    assert "There is only one arm." in markdown


def test_the_same_comparison_gives_the_same_pages(folder: Path) -> None:
    comparison = made_comparison(folder)
    first = [path.read_bytes() for path in (write_report(comparison, folder), folder / "report.md")]
    again = [path.read_bytes() for path in (write_report(comparison, folder), folder / "report.md")]
    assert first == again


def test_provenance_names_recipe_versions_and_command(tmp_path: Path) -> None:
    write_runs(tmp_path, seeds=(0, 1), steps=4, examples=2)
    (tmp_path / "environment.json").write_text(json.dumps({"command": ["curricle", "run", "r.yaml"], "threads": 2}))
    (tmp_path / "recipe.yaml").write_text("name: <mine>\n", encoding="utf-8")
    page, markdown = write(tmp_path)
    facts = page.all_of("dd")
    assert {"curricle run r.yaml", "f00d", "0.1.0", "2", "beef"} <= set(facts)
    assert "name: <mine>\n" in page.all_of("pre")
    assert "- command: curricle run r.yaml" in markdown
