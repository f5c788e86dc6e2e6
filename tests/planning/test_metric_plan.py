"""`curricle plan metric`: rows of answers become scales, a verdict and a picture; broken rows are one line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from xml.etree import ElementTree

import pytest

from curricle.cli.app import main
from curricle.planning.metric import plan_metric


def answers(folder: Path, passed: str = "passed") -> Path:
    """Two answers a scale, of 30 and of 10 tokens, the loss a token halved from scale to scale."""
    rows = [
        {"scale": 10**power, "tokens": tokens, "log_prob": -tokens * 2.0 ** (7 - power), passed: power > 10}
        for power in range(6, 13)
        for tokens in (30, 10)
    ]
    file = folder / "answers.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return file


def test_rows_become_scales(tmp_path: Path) -> None:
    first = plan_metric([answers(tmp_path)]).scales[0]
    assert (first.scale, first.answers, first.passed) == (1e6, 2, 0.0)
    assert first.log_loss == pytest.approx(2.0)
    assert first.expected == pytest.approx((math.exp(-60) + math.exp(-20)) / 2)


def test_the_command_writes_figures_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = answers(tmp_path, passed="exact")
    assert main(["plan", "metric", str(file), "--columns", "passed=exact", "-o", str(tmp_path / "out")]) == 0
    assert "pass: the steepest step brings 6.00 times" in (said := capsys.readouterr().out)
    assert "the jump is the metric's" in said
    assert json.loads((tmp_path / "out" / "metric.json").read_text())["loss_jump"] == pytest.approx(1.0)
    assert len(ElementTree.parse(tmp_path / "out" / "metric.svg").getroot().findall("{*}circle")) == 14


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("scale,tokens,log_prob\n1,1,-1\n2,1,-1", "2 different scales"),
        ("scale,tokens,log_prob\n1,1,nan", "answers.csv:2: log_prob is 'nan'"),
        ("scale,tokens,log_prob\n1,1,0.5", "at most 0"),
        ("scale,tokens,log_prob\n1,0,-1", "at least 1"),
        ("scale,tokens,log_prob\nsmall,1,-1", "scale is 'small'"),
        ("scale,tokens,log_prob,passed\n1,1,-1,maybe", "allowed: 0, 1, true, false"),
        ("scale,log_prob\n1,-1", "no column 'tokens'; there are: scale, log_prob"),
    ],
)
def test_broken_tables_are_one_line(tmp_path: Path, rows: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "answers.csv"
    file.write_text(rows + "\n", encoding="utf-8")
    assert main(["plan", "metric", str(file)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
