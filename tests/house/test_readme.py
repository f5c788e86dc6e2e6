"""The front page says the same in both languages, and what it shows is what a reader gets."""

from __future__ import annotations

import ast
import importlib
import re
from collections import Counter
from pathlib import Path
from typing import cast

import pytest

from curricle.data.config import DataConfig
from curricle.data.sources import read_examples
from curricle.experiments.comparison.shape import (
    ArmInfo,
    Cell,
    CheckOutcome,
    Comparison,
    Difference,
    Interval,
    MetricInfo,
    Progress,
    Verdict,
)

ROOT = Path(__file__).resolve().parents[2]
ENGLISH, KOREAN = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.ko.md"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FORMATS = re.findall(r"^\| `([\w-]+)` \| `(\{.*\})` \|$", ENGLISH, re.MULTILINE)


def blocks(page: str, kind: str) -> list[str]:
    return [code for language, code in BLOCK.findall(page) if language == kind]


def prose(page: str) -> str:
    return BLOCK.sub("", page)


def test_both_have_the_same_headings_in_depth_and_order() -> None:
    depths = [re.findall(r"^(#+) \S", prose(page), re.MULTILINE) for page in (ENGLISH, KOREAN)]
    assert depths[0] == depths[1]
    assert len(depths[0]) > 10


def test_both_have_the_same_code() -> None:
    assert BLOCK.findall(ENGLISH) == BLOCK.findall(KOREAN)


def test_both_name_the_same_commands_keys_and_files() -> None:
    named = [Counter(re.findall(r"`([^`\n]+)`", prose(page))) for page in (ENGLISH, KOREAN)]
    assert named[0] == named[1]


def test_both_lead_to_the_same_pages() -> None:
    led = [sorted(re.findall(r"\]\(([^)#]+)", prose(page))) for page in (ENGLISH, KOREAN)]
    assert led[0] == led[1]


def test_both_have_the_same_tables() -> None:
    rows = [re.findall(r"^\|.*\|$", prose(page), re.MULTILINE) for page in (ENGLISH, KOREAN)]
    assert [row.count("|") for row in rows[0]] == [row.count("|") for row in rows[1]]


def test_both_give_the_same_figures() -> None:
    parts = [page.split("\n## ") for page in (ENGLISH, KOREAN)]
    at = [part.partition("\n")[0] for part in parts[0]].index("Figures")
    given = [Counter(re.findall(r"\d[\d.,]*\d", part[at])) for part in parts]
    assert given[0] == given[1]
    assert given[0]


@pytest.mark.parametrize(("name", "row"), FORMATS)
def test_a_row_is_read_as_its_format(tmp_path: Path, name: str, row: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(row + "\n", encoding="utf-8")
    source = read_examples(DataConfig(train=str(file)), "train")
    assert len(list(source)) == 1
    assert source.report.formats == {str(file): name}


def test_the_masks_are_shown_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from curricle.experiments.init import init
    from curricle.experiments.inspect import masks

    monkeypatch.chdir(tmp_path)
    for name, rows in zip(("chats.jsonl", "ko.jsonl"), blocks(ENGLISH, "json"), strict=True):
        Path(name).write_text(rows, encoding="utf-8")
    init("chats.jsonl", "recipe.yaml")
    recipe = next(block for block in blocks(ENGLISH, "yaml") if block.startswith("name:"))
    Path("ko.yaml").write_text(recipe, encoding="utf-8")
    outputs = blocks(ENGLISH, "text")
    for name in ("recipe.yaml", "ko.yaml"):
        shown = re.sub(r"\x1b\[[0-9;]*m", "", masks(name, rows=1)).rstrip("\n") + "\n"
        assert shown in outputs


def test_the_quickstart_reads_as_a_run_does(capsys: pytest.CaptureFixture[str]) -> None:
    """Its figures, printed by what prints them now, are the lines that are shown; columns may be wider there."""
    from curricle.experiments.comparison.render import as_text
    from curricle.training.monitors import Monitor
    from curricle.training.ticker import Ticker

    (shown,) = (output for output in blocks(ENGLISH, "text") if output.startswith("toy:base: "))
    row = {"step": 10, "loss": 2.6650, "grad_norm": 1.66, "learning_rate": 0.0018, "epoch": 0.1}
    Ticker(100, every=10, bar=False).step(row | {"tokens_per_second": 14386.0, "seconds": 11 / 90})
    Monitor(None, 1.0).measured(100, "eval", {"loss": 0.402275, "perplexity": 1.49522, "tokens": 4490.0}, {})
    told = capsys.readouterr().err
    assert told.count("\n") == 2
    assert _words(told) | _words(as_text(_comparison())) <= _words(shown)


def _words(text: str) -> set[tuple[str, ...]]:
    return {tuple(line.split()) for line in text.splitlines()}


def _comparison() -> Comparison:
    answers, everything = "answers_only", "everything"
    cells = []
    for name, value, other, less, p, verdict in (
        ("loss", (0.407, 0.3461, 0.4678), (0.4944, 0.4633, 0.5255), (0.08743, 0.001599, 0.1733), 0.049, "worse"),
        ("rouge.rouge1", (76.64, 65.18, 88.11), (69.92, 59.68, 80.17), (-6.718, -9.335, -4.101), 0.012, "worse"),
    ):
        found = Difference(Interval(*less, "t"), p, p, cast(Verdict, verdict), "", seeds=[0, 1])
        cells.append(Cell(answers, name, {}, Interval(*value, "t"), None))
        cells.append(Cell(everything, name, {}, Interval(*other, "t"), found))
    arms = [ArmInfo(answers, {}, [0, 1]), ArmInfo(everything, {"data.learn": ("every_turn", "all")}, [0, 1])]
    metrics = [MetricInfo("loss", False), MetricInfo("rouge.rouge1", True)]
    held, why = "-0.08743 [-0.1733, -0.001599]", "the whole interval of loss less everything is below 0"
    check = CheckOutcome(answers, "loss < everything", "met", held, f"{why}, over 2 seeds and 100 examples")
    return Comparison("quickstart", answers, 0.95, arms, metrics, cells, [], Progress([], {}), [check], [], [])


@pytest.mark.parametrize("script", blocks(ENGLISH, "python"))
def test_scripts_import_what_is_there(script: str) -> None:
    for step in ast.walk(ast.parse(script)):
        if isinstance(step, ast.ImportFrom) and (step.module or "").startswith("curricle"):
            module = importlib.import_module(str(step.module))
            assert all(hasattr(module, alias.name) for alias in step.names)


def test_benchmarks_named_are_there() -> None:
    scripts = re.findall(r"benchmarks/\w+\.py", ENGLISH)
    assert scripts
    assert all((ROOT / script).is_file() for script in scripts)
