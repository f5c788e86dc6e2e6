"""The front page says the same in both languages, and what it shows is what a reader gets."""

from __future__ import annotations

import ast
import importlib
import re
from collections import Counter
from pathlib import Path

import pytest

from curricle.data.config import DataConfig
from curricle.data.sources import read_examples

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
    (recipe,) = blocks(ENGLISH, "yaml")
    Path("ko.yaml").write_text(recipe, encoding="utf-8")
    outputs = blocks(ENGLISH, "text")
    for name in ("recipe.yaml", "ko.yaml"):
        shown = re.sub(r"\x1b\[[0-9;]*m", "", masks(name, rows=1)).rstrip("\n") + "\n"
        assert shown in outputs


def test_the_quickstart_reads_as_a_run_does(capsys: pytest.CaptureFixture[str]) -> None:
    from curricle.experiments.results import Result, RunResult
    from curricle.training.monitors import Monitor
    from curricle.training.ticker import Ticker

    (shown,) = (output for output in blocks(ENGLISH, "text") if output.startswith("runs/quickstart"))
    row = {"step": 10, "loss": 4.7119, "grad_norm": 1.77, "learning_rate": 0.005, "epoch": 0.5}
    Ticker(149, every=10, bar=False).step(row | {"tokens_per_second": 8197.0, "seconds": 37 / 139})
    Monitor(None, 1.0).measured(149, "eval", {"loss": 0.419117, "perplexity": 1.52062, "tokens": 848.0}, {})
    results = {"steps": 149, "tokens": 283_200, "repeats": 2800, "train_loss": 0.4572, "eval_loss": 0.4191}
    folder = Path("runs/quickstart")
    result = Result("quickstart", folder, [RunResult("base", 42, folder, results | {"seconds": 155.0})])
    for line in (*capsys.readouterr().err.splitlines(), *str(result).splitlines()):
        assert line in shown.splitlines()


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
