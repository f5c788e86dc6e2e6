"""Tables and run folders become runs, what leaves the constants open is one line, and the plan says what it found."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from curricle.cli.app import main
from curricle.errors import CurricleError, DataError
from curricle.planning.scaling.law import PRESETS
from curricle.planning.scaling.plan import plan_scaling
from curricle.planning.scaling.runs import read_runs

LAW = PRESETS["epoch"]
SIZES, LENGTHS = (1e7, 3e7, 1e8, 3e8), (1e9, 4e9, 1.6e10, 6.4e10)


def table(folder: Path, noise: float = 0.002) -> Path:
    errors = iter(np.random.default_rng(0).normal(0, noise, 16))
    rows = [f"{n},{d},{LAW.loss(n, d) * np.exp(next(errors))}" for n in SIZES for d in LENGTHS]
    return written(folder, "\n".join(["N,D,loss", *rows]))


def written(folder: Path, text: str, name: str = "runs.csv") -> Path:
    (folder / name).write_text(text + "\n", encoding="utf-8")
    return folder / name


def test_intervals_hold_the_truth_and_the_fit(tmp_path: Path) -> None:
    plan = plan_scaling([table(tmp_path)], flops=[1e19], num_resamples=40)
    assert plan.intervals is not None
    for name in ("E", "alpha", "beta"):
        low, high = plan.intervals[name]
        assert low < getattr(LAW, name) < high
        assert low < getattr(plan.law, name) < high
    low, high = plan.budgets[0].intervals["N"]
    assert low < plan.budgets[0].optimum.params < high
    assert plan.budgets[0].optimum.params == pytest.approx(LAW.optimum(1e19).params, rel=0.1)
    assert plan_scaling([table(tmp_path)], flops=[1e19], num_resamples=40).as_dict() == plan.as_dict()


def test_too_few_runs_for_intervals_have_none(tmp_path: Path) -> None:
    rows = ["N,D,loss", *(f"{n},{d},{LAW.loss(n, d)}" for n, d in zip(SIZES, LENGTHS[::-1], strict=True))]
    plan = plan_scaling([written(tmp_path, "\n".join([*rows, f"1e8,1e9,{LAW.loss(1e8, 1e9)}"]))], num_resamples=20)
    assert plan.intervals is None
    assert "no intervals" in str(plan)


def test_the_command_writes_figures_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--flops",
        "1e18",
        "--flops",
        "1e22",
        "--served",
        "1e12",
        "--bootstrap",
        "25",
        "-o",
        str(tmp_path / "out"),
    ]
    assert main(["plan", "scaling", str(table(tmp_path)), *arguments]) == 0
    said = capsys.readouterr().out
    assert said.count("tokens served") == 2
    assert said.count("extrapolation") == 1
    found = json.loads((tmp_path / "out" / "scaling.json").read_text())
    assert [budget["flops"] for budget in found["budgets"]] == [1e18, 1e22]
    assert found["huber_sum"] < min(found["published"].values())
    picture = ElementTree.parse(tmp_path / "out" / "scaling.svg").getroot()
    assert len(picture.findall("{*}circle")) == 16 + 2


def test_flops_stand_for_tokens_and_columns_have_other_names(tmp_path: Path) -> None:
    by_flops = written(tmp_path, '{"size": 2, "C": 120, "eval": 3.5}', "runs.jsonl")
    by_tokens = written(tmp_path, "N,D,loss\n4,20,3.25")
    runs = read_runs([by_flops], {"N": "size", "loss": "eval"})
    assert (runs.params.tolist(), runs.tokens.tolist(), runs.loss.tolist()) == ([2.0], [10.0], [3.5])
    assert read_runs([by_tokens]).tokens.tolist() == [20.0]


def run_folder(folder: Path, size: dict[str, int], metrics: dict[str, float]) -> None:
    folder.mkdir(parents=True)
    content = {"model": size, "tokens": 900, "metrics": metrics}
    (folder / "results.json").write_text(json.dumps(content), encoding="utf-8")


def test_run_folders_are_read(tmp_path: Path) -> None:
    whole = {"num_parameters": 50, "num_trainable": 50}
    for seed in (0, 1):
        run_folder(tmp_path / "sizes" / "small" / f"seed-{seed}", whole, {"loss": 2.0 + seed})
    runs = read_runs([tmp_path / "sizes", tmp_path / "sizes" / "small" / "seed-1"])
    assert (runs.params.tolist(), runs.tokens.tolist(), runs.loss.tolist()) == (
        [50.0] * 3,
        [900.0] * 3,
        [2.0, 3.0, 3.0],
    )
    run_folder(tmp_path / "unmeasured", whole, {})
    with pytest.raises(DataError, match="no held-out loss"):
        read_runs([tmp_path / "unmeasured"])
    run_folder(tmp_path / "lora", {**whole, "num_trainable": 5}, {"loss": 2.0})
    with pytest.raises(DataError, match="trained whole"):
        read_runs([tmp_path / "lora"])
    (tmp_path / "lora" / "results.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="no JSON, or was cut short"):
        read_runs([tmp_path / "lora"])
    with pytest.raises(DataError, match="no finished run"):
        read_runs([tmp_path])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("N,D,loss\n1,2,3\n1,3,2", "2 runs cannot fix 5 constants"),
        ("N,D,loss\n" + "\n".join(f"7,{d},{3 - d / 10}" for d in range(1, 8)), "1 different N in 7 runs"),
        ("N,D,loss\n" + "\n".join(f"{n},{1 + n % 2},{3 - n / 10}" for n in range(1, 8)), "2 different D in 7 runs"),
        ("N,D,loss\n" + "\n".join(f"{n},{20 * n},{3 - n / 10}" for n in range(1, 8)), "grow together"),
        ("N,D,loss\n1,2,3\n1,nan,3", "runs.csv:3: D is 'nan'"),
        ("N,D,loss\n1,2,inf", "runs.csv:2: loss is 'inf'"),
        ("N,D,loss\n1,2,0", "a number above 0"),
        ("N,D,loss\n-1,2,2", "N is '-1'"),
        ("N,D,loss\n1,many,2", "D is 'many'"),
        ("N,tokens,loss\n1,2,3", "no column 'D' (tokens), nor 'C' (FLOPs); there are: N, tokens, loss"),
        ("params,D,loss\n1,2,3", "no column 'N'; there are: params, D, loss"),
    ],
)
def test_runs_that_cannot_be_fitted(tmp_path: Path, rows: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "scaling", str(written(tmp_path, rows))]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give either runs"),
        (["--preset", "epoch"], "needs a budget"),
        (["--preset", "epohc", "--flops", "1"], "did you mean `epoch`"),
        (["--preset", "epoch", "--flops", "-1"], "a finite number above 0"),
        (["--preset", "epoch", "--flops", "nan"], "a finite number above 0"),
        (["--preset", "epoch", "--flops", "1e20", "--served", "0"], "served is 0"),
        (["runs.csv", "--columns", "N"], "NAME=COLUMN"),
        (["runs.csv", "--columns", "M=x"], "no quantity is called 'M'"),
        (["missing.csv"], "no such data file"),
        (["runs.csv", "--seed", "-1"], "'--seed'"),
    ],
)
def test_a_wrong_question_is_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "scaling", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_all_runs_left_out(tmp_path: Path) -> None:
    with pytest.raises(CurricleError, match="cannot leave out 16 of 16"):
        plan_scaling([table(tmp_path)], drop_highest=16)
