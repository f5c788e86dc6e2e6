"""`curricle plan data`: the table, the budget, the mixture, the picture, and questions that are refused."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from curricle.cli.app import main
from curricle.planning.repetition.plan import plan_data


def test_the_table_ends_with_the_tokens_of_training() -> None:
    plan = plan_data(25e9, tokens=178e9, params=8.67e9)
    assert [stage.epochs for stage in plan.stages] == pytest.approx([1, 2, 3, 4, 6, 7.12])
    assert plan.stages[-1].loss == pytest.approx(2.2269634075087867, abs=1e-9)
    assert plan_data(25e9, tokens=5e9).stages[0].effective == 5e9
    assert "epochs, loss" not in str(plan)


def test_the_command_writes_figures_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = ["--unique", "1e9", "--tokens", "20e9", "--flops", "1e21", "--synthetic", "5e9", "--worth", "0.6"]
    assert main(["plan", "data", *numbers, "-o", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "less than 50% of fresh tokens after 11.7 epochs" in said
    assert "with fresh tokens" in said
    assert "synthetic" in said
    found = json.loads((tmp_path / "data.json").read_text())
    assert found["mixture"]["effective"] > found["stages"][-1]["effective"]
    assert found["optimum"]["loss"] > found["without_limit"]["loss"]
    assert len(ElementTree.parse(tmp_path / "data.svg").getroot().findall("{*}circle")) == len(found["stages"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--unique", "0"], "unique is 0"),
        (["--unique", "1e9", "--tokens", "nan"], "tokens is nan"),
        (["--unique", "1e9", "--synthetic", "1e9", "--worth", "0.5"], "a mixture needs"),
        (["--unique", "1e9", "--tokens", "1e9", "--worth", "0.5"], "a mixture needs"),
        (["--unique", "1", "--tokens", "1", "--synthetic", "1", "--worth", "1.5"], "up to 1"),
    ],
)
def test_a_wrong_question_is_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "data", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
