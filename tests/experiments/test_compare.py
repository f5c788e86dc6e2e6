"""`curricle compare`: which folders it takes, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

import curricle
from curricle.cli import main
from curricle.errors import CurricleError
from curricle.experiments.comparison.config import ComparisonConfig
from curricle.experiments.comparison.shape import Comparison
from experiments.comparison.runs import noisy, write_run


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """runs/old and runs/new with the arms base and tuned, two seeds each."""
    monkeypatch.chdir(tmp_path)
    for i, experiment in enumerate(("old", "new")):
        for j, arm in enumerate(("tuned", "base")):
            for seed in (0, 1):
                folder = tmp_path / "runs" / experiment / arm / f"seed-{seed}"
                write_run(folder, scores=noisy(seed + 10 * i + 100 * j, shift=i + 2 * (1 - j)))
        recipe = "name: x\narms: {base: {}, tuned: {}}\n"
        (tmp_path / "runs" / experiment / "recipe.yaml").write_text(recipe)
    return tmp_path / "runs"


def names(*folders: str, base: str | None = None) -> tuple[str, list[str]]:
    found = curricle.compare(*folders, base=base)
    return found.base, [arm.name for arm in found.arms]


@pytest.mark.parametrize(
    ("folders", "base", "expected"),
    [
        (["runs/old"], None, ("base", ["base", "tuned"])),  # as its recipe has them
        (["runs/old"], "tuned", ("tuned", ["base", "tuned"])),
        (["runs/old/tuned", "runs/old/base"], None, ("tuned", ["tuned", "base"])),
        (["runs/old/base", "runs/new/base"], None, ("old/base", ["old/base", "new/base"])),
        (["runs/old/base", "runs/new/base"], "new/base", ("new/base", ["old/base", "new/base"])),
        (["runs/old", "runs/new/base"], None, ("old/base", ["old/base", "tuned", "new/base"])),
        (["runs/old/base/seed-1", "runs/new/tuned/seed-1"], None, ("base", ["base", "tuned"])),
    ],
)
def test_folders(runs: Path, folders: list[str], base: str | None, expected: tuple[str, list[str]]) -> None:
    assert names(*folders, base=base) == expected


def test_the_recipe_of_the_folder_says_how(runs: Path) -> None:
    recipe = runs / "old" / "recipe.yaml"
    written = recipe.read_text()
    recipe.write_text(written + "comparison: {base: tuned, level: 0.8}\n")
    found = curricle.compare("runs/old")
    assert (found.base, found.level, found.warnings) == ("tuned", 0.8, [])
    assert curricle.compare("runs/old", base="base").base == "base"
    assert curricle.compare("runs/old", base="base").level == 0.8
    assert curricle.compare("runs/old", config=ComparisonConfig(level=0.9)).level == 0.9
    both = curricle.compare("runs/old", "runs/new")  # old/tuned is not called tuned there
    assert (both.base, both.level, both.warnings) == ("old/base", 0.8, [])
    assert curricle.compare("runs/old/base", "runs/old/tuned").base == "base"
    recipe.write_text(written + "comparison: {base: gone}\n")
    assert curricle.compare("runs/old").warnings == ["gone has no finished run, so the others are compared with base"]
    recipe.write_text(written + "comparison: {bas: tuned}\n")
    with pytest.raises(CurricleError, match=r"recipe.yaml:3: `comparison.bas` is not a key"):
        curricle.compare("runs/old")


def test_seeds_of_one_arm_come_together(runs: Path) -> None:
    found = curricle.compare("runs/old/base/seed-0", "runs/old/base/seed-1", "runs/new/tuned/seed-1")
    assert [(arm.name, arm.seeds) for arm in found.arms] == [("base", [0, 1]), ("tuned", [1])]


@pytest.mark.parametrize(
    ("folders", "base", "told"),
    [
        ([], None, "name the runs to compare"),
        (["runs/none"], None, "runs/none is no folder"),
        (["runs"], None, "holds no finished run"),
        (["runs/old/base"], None, "holds one arm, base"),
        (["runs/old"], "tunned", "did you mean `tuned`?"),
    ],
)
def test_what_cannot_be_compared(runs: Path, folders: list[str], base: str | None, told: str) -> None:
    with pytest.raises(CurricleError) as refused:
        curricle.compare(*folders, base=base)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_other_data_and_other_figures_are_refused(runs: Path) -> None:
    write_run(runs / "far" / "base" / "seed-0", scores=noisy(0), ids=[f"far{i}" for i in range(60)])
    with pytest.raises(CurricleError, match=r"results of other data: .* none is common"):
        curricle.compare("runs/old/base", "runs/far/base")
    write_run(runs / "odd" / "base" / "seed-0", metrics={"bleu": 3.0})
    with pytest.raises(CurricleError, match=r"no figure was measured in both .* has bleu, .* has rouge.sum"):
        curricle.compare("runs/old/base", "runs/odd/base")
    write_run(runs / "raw" / "base" / "seed-0")
    with pytest.raises(CurricleError, match=r"raw/base has none"):
        curricle.compare("runs/old/base", "runs/raw/base")


def test_the_command_prints_and_writes(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "runs/old", "-o", "out.json"]) == 0
    shown = capsys.readouterr().out
    assert "old: 1 arm against base" in shown
    written = Comparison.from_dict(orjson.loads(Path("out.json").read_bytes()))
    assert str(written) == shown.rstrip("\n")


@pytest.mark.parametrize("arguments", [["runs/none"], ["runs/old/base"], []])
def test_mistakes_are_one_line_and_2(runs: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(["compare", *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1


def test_runs_that_were_really_run(small_runs: Path) -> None:
    """Their figures are made of the values an example that lie beside them, and their cost is known."""
    found = curricle.compare(small_runs, base="whole")
    cell = found.cell("lora", "loss")
    assert cell is not None
    assert cell.difference is not None
    assert cell.difference.num_examples == 6
    assert cell.difference.interval.method == "bootstrap over examples"
    assert {each.arm: bool(each.train_flops) for each in found.compute} == {
        "whole": True,
        "lora": True,
        "untouched": False,
    }
