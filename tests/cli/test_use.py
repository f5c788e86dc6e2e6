"""`watch`, `evaluate`, `predict` and `chat` on the command line: what they print, and one line for what cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from curricle.cli import main
from experiments.run_folders import begin, experiment, finish

ROWS = [{"fname": f"dev_{i}", "dialogue": f"#Person1#: {i}", "summary": f"say {i}"} for i in range(4)]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    Path("kobart.csv").write_text("fname,summary\n" + "".join(f"dev_{i},say {i}\n" for i in (3, 1, 0, 2)))
    Path("part.csv").write_text("fname,summary\ndev_1,say 1\n")
    experiment(Path())


def test_watch_once(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("base/seed-0", "base/seed-1"):
        finish(begin(Path("runs/x") / name, steps=3))
    assert main(["watch", "runs/x", "--once"]) == 0
    assert "2 of 6 runs finished" in capsys.readouterr().out
    assert main(["watch", "runs/x/base", "--every", "0.1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "runs/x: 2 of 2 runs finished"


def test_answers_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["evaluate", "--predictions", "kobart.csv", "--data", "rows.jsonl", "-o", "out.json"]
    assert main([*asked, "--metric", "rouge:tokenizer=eojeol", "--metric", "chrf"]) == 0
    shown = capsys.readouterr()
    rows = {line.split()[0]: line.split()[1] for line in shown.out.splitlines() if line[:5] in ("rouge", "chrf ")}
    assert rows["rouge.rougeL"] == rows["chrf"] == "100.0000"
    assert rows["rouge.sum"] == "300.0000"
    assert json.loads(Path("out.json").read_bytes())["metrics"]["chrf"] == 100


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["watch", "runs/y"], ["runs/y is no folder of an experiment", "no recipe.yaml"]),
        (["watch", "runs/x"], ["runs/x: 0 of 6 runs finished, and no process works on the rest"]),
        (["watch", "runs/x/other"], ["other is no run of runs/x", "base, long, untouched"]),
        (["watch", "runs/x", "--every", "0"], ["--every"]),
        (["evaluate"], ["give a model or a run to measure, or --predictions FILE"]),
        (["evaluate", "--predictions", "kobart.csv", "--data", "rows.jsonl"], ["no metric is named"]),
        (["evaluate", "--predictions", "part.csv", "--data", "rows.jsonl", "--metric", "chrf"], ["3 of 4", "dev_0"]),
        (["evaluate", "--predictions", "none.csv", "--data", "rows.jsonl", "--metric", "chrf"], ["none.csv"]),
        (["evaluate", "--predictions", "kobart.csv", "--data", "none.jsonl", "--metric", "chrf"], ["none.jsonl"]),
        (["evaluate", "--predictions", "kobart.csv", "--data", "rows.jsonl", "--metric", "rogue"], ["`rouge`"]),
        (
            [
                "evaluate",
                "--predictions",
                "kobart.csv",
                "--data",
                "rows.jsonl",
                "--metric",
                "foreign_script:allow=[Hangle]",
            ],
            ["Hangle", "Hangul"],
        ),
        (["evaluate", "runs/none", "--metric", "loss"], ["there is no runs/none; in runs: x"]),
        (["evaluate", "nano:llama", "--data", "rows.jsonl"], ["nano:llama", "--recipe"]),
        (["predict", "runs/none", "rows.jsonl"], ["Missing option", "-o"]),
        (["predict", "runs/none", "rows.jsonl", "-o", "out.txt"], ["out.txt", ".jsonl or .csv"]),
        (["predict", "runs/none", "rows.jsonl", "-o", "kobart.csv"], ["kobart.csv is there already", "--force"]),
        (["predict", "runs/none", "rows.jsonl", "-o", "out.csv"], ["there is no runs/none; in runs: x"]),
        (["chat", "runs/none"], ["there is no runs/none"]),
        (["chat", "runs/x", "--max-new-tokens", "0"], ["--max-new-tokens"]),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], said: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(Path().rglob("*"))
    assert main(arguments) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ")
    assert all(part in line for part in said), line
    assert sorted(Path().rglob("*")) == before
