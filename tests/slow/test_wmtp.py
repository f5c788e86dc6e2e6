"""The recipes of weighted multi-token prediction, whole, from the command line, on a tiny model: in one process, on two
ranks, and killed in the middle of an arm and run again; MLflow holds each of them."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file
from torch.testing import assert_close

from curricle.runtime.files import read_json
from slow.children import TIMINGS, command_line, complete, finish, lines, start, steps_told, wait_until
from slow.test_ranks import torchrun

pytestmark = pytest.mark.slow

RECIPES = Path(__file__).resolve().parents[2] / "recipes" / "wmtp"
ROWS = {"baseline": "toy:contest-easy#40", "verifiable": "toy:contest-mixed#40", "rho1": "toy:contest-easy#40"}
KILLED = {"baseline": "baseline", "verifiable": "lambda_1", "rho1": "rho1"}
"""The arm that is killed in its middle: the arms before it are done, and those that come after it are not."""
STEPS = 4
TINY = {
    "model.name_or_path": "nano:llama",
    "model.shape": "{vocab_size: 400, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 5}",
    "data.eval": "toy:contest-mixed-eval#6",
    "data.max_length": "512",
    "training.max_steps": str(STEPS),
    "training.save_steps": "1",
    "training.logging_steps": "1",
    "training.per_device_train_batch_size": "2",
    "training.report_to": "mlflow",
    "evaluation": "[{metric: loss}, {metric: pass_at_k, problems: 'toy:contest-problems-easy#2', style: bare, "
    "max_new_tokens: 12}]",
}


def command(recipe: str, accumulation: int = 2) -> list[str]:
    """As somebody types it; on two ranks, half the accumulation makes the same step."""
    changes = TINY | {"data.train": ROWS[recipe], "training.gradient_accumulation_steps": str(accumulation)}
    if recipe == "verifiable":
        changes["arms.critic.training.max_steps"] = str(STEPS)
    return [
        "run",
        str(RECIPES / f"{recipe}.yaml"),
        *(part for k, v in changes.items() for part in ("--set", f"{k}={v}")),
    ]


def arms(recipe: str) -> list[str]:
    return list(yaml.safe_load((RECIPES / f"{recipe}.yaml").read_text(encoding="utf-8"))["arms"])


def run_of(folder: Path, recipe: str, arm: str) -> Path:
    return folder / "runs" / f"wmtp-{recipe}" / arm / "seed-42"


@pytest.fixture(scope="module", params=ROWS)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A recipe's name, and the folder in which one process ran it without a break."""
    folder = tmp_path_factory.mktemp(request.param)
    complete(command_line, folder, *command(request.param), said=folder / "log")
    return request.param, folder


def test_in_one_process_mlflow_holds_every_arm(whole: tuple[str, Path]) -> None:
    recipe, folder = whole
    assert_told(folder, recipe)


def test_on_two_ranks_every_arm_ends_where_one_process_does(whole: tuple[str, Path], tmp_path: Path) -> None:
    recipe, folder = whole
    code, said = torchrun(tmp_path, "-m", "curricle", *command(recipe, accumulation=1))
    assert code == 0, said[-5000:]
    for arm in arms(recipe):
        one, two = run_of(folder, recipe, arm), run_of(tmp_path, recipe, arm)
        assert lines(one / "consumed.jsonl") == lines(two / "consumed.jsonl")
        losses, others = ([row["loss"] for row in lines(run / "metrics.jsonl")] for run in (one, two))
        assert losses == pytest.approx(others, abs=2e-5), arm
        mine, theirs = (read_json(run / "results.json")["metrics"] for run in (one, two))
        assert mine["loss"] == pytest.approx(theirs["loss"], abs=2e-5), arm
        assert theirs.keys() == mine.keys()
    assert_told(tmp_path, recipe)


def test_killed_in_the_middle_of_an_arm_and_run_again_it_is_the_unbroken_run(
    whole: tuple[str, Path], tmp_path: Path
) -> None:
    recipe, folder = whole
    broken, said = run_of(tmp_path, recipe, KILLED[recipe]), tmp_path / "log"
    child = start(command_line, tmp_path, *command(recipe), said=said)
    assert wait_until(lambda: (broken / "checkpoint-2").exists(), child.is_alive), said.read_text()[-3000:]
    os.kill(child.pid or 0, signal.SIGKILL)
    assert finish(child, said) == -signal.SIGKILL
    assert len(lines(broken / "metrics.jsonl")) < STEPS or not (broken / "results.json").exists()
    complete(command_line, tmp_path, *command(recipe), said=said)
    for arm in arms(recipe):
        one, again = run_of(folder, recipe, arm), run_of(tmp_path, recipe, arm)
        assert steps_told(one) == steps_told(again)
        mine, theirs = (read_json(run / "results.json") for run in (one, again))
        assert {k: v for k, v in mine.items() if k not in TIMINGS} == {
            k: v for k, v in theirs.items() if k not in TIMINGS
        }
        if (one / "model").is_dir():
            assert_close(*(load_file(run / "model/model.safetensors") for run in (one, again)), rtol=0, atol=0)
    assert_told(tmp_path, recipe)


def assert_told(folder: Path, recipe: str) -> None:
    """One finished run in the store for each arm that learns, with its settings, every step's figures once, the final
    results and the files; and pass@1 of every arm in the comparison."""
    experiment = folder / "runs" / f"wmtp-{recipe}"
    cells = read_json(experiment / "comparison.json")["cells"]
    assert {cell["arm"] for cell in cells if cell["metric"] == "pass_at_k.pass@1"} == set(arms(recipe))
    trained = [arm for arm in arms(recipe) if (run_of(folder, recipe, arm) / "metrics.jsonl").exists()]
    assert trained == [arm for arm in arms(recipe) if arm != "untouched"]
    with closing(sqlite3.connect(experiment / "mlflow.db")) as store:
        held = dict(store.execute("select name, run_uuid from runs where status = 'FINISHED'").fetchall())
        assert store.execute("select count(*) from runs").fetchone() == (len(held),)
        assert set(held) >= {f"{arm}/seed-42" for arm in trained}
        for arm in trained:
            number, run = held[f"{arm}/seed-42"], run_of(folder, recipe, arm)
            told = store.execute("select step from metrics where run_uuid = ? and key = 'loss'", [number]).fetchall()
            assert sorted(told) == [(row["step"],) for row in lines(run / "metrics.jsonl")], arm
            settings = dict(store.execute("select key, value from params where run_uuid = ?", [number]).fetchall())
            assert settings["training.max_steps"] == str(STEPS)
            last = dict(store.execute("select key, value from latest_metrics where run_uuid = ?", [number]).fetchall())
            assert last["result/pass_at_k.pass_1"] == read_json(run / "results.json")["metrics"]["pass_at_k.pass@1"]
            kept = {path.name for path in (experiment / "mlflow-artifacts" / number).rglob("*") if path.is_file()}
            assert {"arm.json", "results.json"} <= kept
