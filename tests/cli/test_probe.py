"""`curricle probe` from the command line: one file, one account of it, and mistakes in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from curricle.cli import main
from curricle.curriculum.labels import read_labels
from difficulty.nano_pair import write_rows

RECIPE: dict[str, Any] = {
    "model": {"name_or_path": "nano:llama", "shape": {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 1}},
    "data": {"train": "rows.jsonl", "format": "prompt-completion", "max_length": 96},
    "training": {"max_steps": 2, "per_device_train_batch_size": 2, "save_strategy": "no"},
    "arms": {"quick": {}, "slow": {"training": {"learning_rate": 1e-6}}},
    "seeds": [3, 4],
}
pytestmark = pytest.mark.usefixtures("libraries")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "rows.jsonl", 40)
    (tmp_path / "r.yaml").write_text(json.dumps(RECIPE), encoding="utf-8")


def test_the_first_arm_and_seed_or_those_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "r.yaml", "-o", "a.parquet"]) == 0
    assert capsys.readouterr().out.startswith("a.parquet: 40 rows in 2 parts, 1 seed, ")
    more = ["--folds", "3", "--arm", "slow", "--seeds", "3,4", "--set", "training.max_steps=1"]
    assert main(["probe", "r.yaml", "-o", "b.parquet", *more]) == 0
    first, other = (read_labels(name).about for name in ("a.parquet", "b.parquet"))
    assert (first["arm"], first["seeds"], first["folds"]) == ("quick", [3], 2)
    assert (other["arm"], other["seeds"], other["folds"]) == ("slow", [3, 4], 3)
    assert other["settings"]["training"]["max_steps"] == 1


def test_the_same_command_finds_it_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "r.yaml", "-o", "a.parquet"]) == 0
    before = capsys.readouterr().out
    assert main(["probe", "r.yaml", "-o", "a.parquet"]) == 0
    shown = capsys.readouterr()
    assert shown.out == before
    assert "a.parquet: these losses are there already" in shown.err
    assert main(["probe", "r.yaml", "-o", "a.parquet", "--folds", "3"]) == 2
    assert main(["probe", "r.yaml", "-o", "a.parquet", "--folds", "3", "--force"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--folds", "1"], "--folds 1"),
        (["--arm", "slo"], "did you mean `slow`?"),
        (["--seeds", "a"], "--seeds takes whole numbers"),
        (["--set", "trainer=none"], "trains nothing"),
        (["--set", "data.limit=20"], "16 are the least"),
    ],
    ids=str,
)
def test_mistakes(arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "r.yaml", "-o", "a.parquet", *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines()[-1].startswith("error: ")
    assert message in shown.err.splitlines()[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.yaml", "rows.jsonl"]
