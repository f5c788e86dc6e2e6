"""Runs in an MLflow store, live and afterwards: all of them once, whatever happens in between."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curricle.errors import Interrupted, RecipeError, RunError
from curricle.experiments.tracking import following
from curricle.experiments.tracking.following import asked_for, export_mlflow, followed, tell_finished
from curricle.experiments.tracking.mlflow_store import MlflowStore, shown, store_uri
from experiments.tracking.folders import make_run, write_log

pytest.importorskip("mlflow")

TOLD = {"report_to": ["mlflow"]}


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Making the tables takes seconds: once."""
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowStore(f"sqlite:///{file}")
    return file


@pytest.fixture
def run(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    made = make_run(tmp_path, finished=False)
    shutil.copy(empty_store, made.parent.parent / "mlflow.db")
    yield made
    following._unreachable.clear()


def held(run: Path) -> tuple[Any, Any]:
    """The only run in the store beside a run, and a client for it."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(store_uri(run))
    experiment = client.get_experiment_by_name("told")
    [found] = client.search_runs([experiment.experiment_id])
    return found, client


def steps(run: Path, name: str) -> list[int]:
    found, client = held(run)
    history = client.get_metric_history(found.info.run_id, name)  # by milliseconds, some of which have several
    return sorted(metric.step for metric in history)


def test_nothing_is_sent_twice(run: Path) -> None:
    store = MlflowStore(store_uri(run))
    store.send(run)
    store.send(run)
    write_log(run, "metrics", 6)
    write_log(run, "heldout", 6)
    store.send(run)
    MlflowStore(store_uri(run)).send(run)
    assert steps(run, "loss") == [1, 2, 3, 4, 5, 6]
    assert steps(run, "eval/loss") == [2, 4, 6]


def test_a_run_that_was_cut_back_and_goes_on_is_the_unbroken_one(run: Path) -> None:
    MlflowStore(store_uri(run)).send(run)
    write_log(run, "metrics", 2)
    store = MlflowStore(store_uri(run))
    store.send(run)
    write_log(run, "metrics", 5)
    store.send(run)
    assert steps(run, "loss") == [1, 2, 3, 4, 5]


def test_a_finished_run_has_parameters_results_and_files(run: Path) -> None:
    make_run(run.parents[3])
    assert "1 run in MLflow at sqlite:" in export_mlflow(run)
    assert "1 run" in export_mlflow(run.parents[1])
    found, client = held(run)
    assert found.info.status == "FINISHED"
    assert found.data.params["training.learning_rate"] == "0.001"
    assert found.data.metrics["result/rouge.sum"] == 70.0
    assert len(client.get_metric_history(found.info.run_id, "result/rouge.sum")) == 1
    names = {each.path for each in client.list_artifacts(found.info.run_id)}
    assert names == {"arm.json", "results.json", "recipe.yaml"}
    assert found.info.artifact_uri.startswith(str(run.parents[1]))


def test_a_second_export_says_that_there_is_nothing_new(run: Path) -> None:
    make_run(run.parents[3])
    MlflowStore(store_uri(run)).send(run)
    assert "nothing new" not in export_mlflow(run)
    for _ in range(2):
        assert export_mlflow(run).startswith(f"1 run in MLflow at {store_uri(run)}, nothing new; ")
    (run.parents[1] / "recipe.yaml").write_text("name: told  # changed\n")
    assert "nothing new" not in export_mlflow(run)
    write_log(run, "metrics", 6)
    assert "nothing new" not in export_mlflow(run)
    assert "nothing new" in export_mlflow(run)


def test_arms_are_runs_of_one_experiment(run: Path) -> None:
    for arm in ("base", "other"):
        make_run(run.parents[3], arm=arm)
    assert "2 runs in MLflow" in export_mlflow(run.parents[1])
    from mlflow.tracking import MlflowClient

    client = MlflowClient(store_uri(run))
    found = client.search_runs([client.get_experiment_by_name("told").experiment_id])
    assert {each.info.run_name for each in found} == {"base/seed-3", "other/seed-3"}


def test_what_was_told_while_training(run: Path) -> None:
    with followed(run, TOLD):
        pass
    assert held(run)[0].info.status == "RUNNING"
    assert steps(run, "loss") == [1, 2, 3, 4]
    with pytest.raises(Interrupted), followed(run, TOLD):
        raise Interrupted("stopped")
    assert held(run)[0].info.status == "KILLED"
    make_run(run.parents[3])
    tell_finished([(run, TOLD)])
    assert held(run)[0].info.status == "FINISHED"


def test_a_server_that_is_not_there_is_said_once(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://somebody:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    make_run(run.parents[3])
    for _ in range(2):
        with followed(run, TOLD):
            pass
        tell_finished([(run, TOLD)])
    said = capsys.readouterr().err
    assert said.count("training goes on, and everything is kept in") == 1
    assert f"`curricle export mlflow {run}` sends it later" in said
    assert "secret" not in said
    with pytest.raises(RunError, match=r"MLflow at http://\.\.\.@127\.0\.0\.1:9 cannot be told"):
        export_mlflow(run)


def test_nobody_is_told_who_was_not_asked_for(run: Path) -> None:
    (run.parent.parent / "mlflow.db").unlink()
    with followed(run, {"report_to": "none"}):
        pass
    assert not (run / "mlflow.json").exists()
    assert not (run.parent.parent / "mlflow.db").exists()
    asked = ("mlflow", ["wandb", "mlflow"], "none", None)
    assert [asked_for({"report_to": names}) for names in asked] == [True, True, False, False]


def test_a_folder_without_a_finished_run(run: Path) -> None:
    with pytest.raises(RunError, match="holds no finished run"):
        export_mlflow(run)


def test_a_password_is_not_shown() -> None:
    assert shown("https://me:secret@host:5000") == "https://...@host:5000"
    assert shown("sqlite:///runs/a/mlflow.db") == "sqlite:///runs/a/mlflow.db"


def test_an_experiment_of_another_name(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "ours")
    store = MlflowStore(store_uri(run))
    store.send(run)
    assert store.client.get_experiment_by_name("ours") is not None


def test_options_for_a_model_folder_are_refused() -> None:
    from curricle.cli.model import export

    for given in ({"output": Path("x")}, {"force": True}, {"dtype": "float32"}):
        with pytest.raises(RecipeError, match="takes --to only"):
            export(["mlflow", "runs/a"], **given)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="--to is for MLflow"):
        export(["runs/a"], to="http://host")
    with pytest.raises(RecipeError, match="-o is missing"):
        export(["runs/a"])
