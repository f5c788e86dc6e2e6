"""What can be wrong with labels, with the models that make them, and with the curricula that go by them: one line, exit
2, and whatever was there before is there still."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest

from curricle.cli import main
from curricle.curriculum.labels import read_labels, write_labels
from difficulty.nano_pair import save_model, save_pair, write_rows

pytestmark = pytest.mark.usefixtures("libraries")
RECIPE: dict[str, Any] = {
    "name": "c",
    "seed": 3,
    "model": {"name_or_path": "./edge", "adapter": {"lora_r": 4}},
    "data": {"train": "rows.jsonl", "format": "prompt-completion", "max_length": 256},
    "training": {"max_steps": 6, "save_steps": 3, "per_device_train_batch_size": 2, "learning_rate": 1e-3},
    "curriculum": {"strategy": "layer_wise_progressive", "labels": "labels.parquet"},
}
RUN = Path("runs/c/base/seed-3")
SCORE = ("score", "rows.jsonl", "--cloud", "cloud", "--edge", "edge")
MIX = ("curriculum.strategy=staged_mix", "curriculum.difficulty_bins={low: [100, 200]}")


class Refused(Protocol):
    def __call__(self, *arguments: str) -> str: ...


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, libraries: None) -> Path:
    """A pair of models, a smaller one, rows, and labels that the pair gave them."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        save_pair(folder)
        save_model(folder / "small", "llama", 3, ["a b"], 270, num_hidden_layers=1, hidden_size=16)
        for name, num, seed in (("rows", 40, 0), ("others", 40, 1), ("few", 20, 0)):
            write_rows(folder / f"{name}.jsonl", num, seed)
        Path("r.yaml").write_text(json.dumps(RECIPE), encoding="utf-8")
        assert main([*SCORE, "-o", "labels.parquet", "--baselines", "length"]) == 0
        assert main(["run", "r.yaml", "--set", "training.max_steps=1", "--set", "name=lora"]) == 0
        labels = read_labels("labels.parquet")
        layers = labels.layers
        assert layers is not None
        spoiled, gone = labels.columns["mean"].copy(), layers.copy()
        spoiled[[3, 5]], gone[7, 1] = np.nan, np.inf
        write_labels("nan.parquet", labels.ids, {"mean": spoiled}, gone)
        write_labels("half.parquet", labels.ids[:25], {"mean": labels.columns["mean"][:25]}, layers[:25])
        write_labels("other.parquet", labels.ids, {"mean": labels.columns["mean"][::-1]}, layers)
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "place"
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def refused(place: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    """A command line that must be refused; gives the line that says why."""

    def run(*arguments: str) -> str:
        before = all_of(place)
        capsys.readouterr()
        assert main(arguments) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        *_, line = shown.err.splitlines()
        assert shown.err.count("error: ") == 1
        assert line.startswith("error: ")
        assert all_of(place) == before
        return line

    return run


def all_of(folder: Path) -> dict[str, str]:
    """Every file and folder, and what each file holds; a lock that nobody holds is nothing."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in folder.rglob("*")
        if path.name != ".lock"
    }


def sets(*overrides: str) -> list[str]:
    return [part for each in overrides for part in ("--set", each)]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["--metric", "kl"], ["other vocabularies (", "kl_bytes"]),
        (["--space", "none"], ["48 wide in the cloud model and 32 in the edge model", "rsa"]),
        (["--num-calibration", "5"], ["5 calibration samples (as asked) are too few", "at least 16"]),
        (["--num-calibration", "21"], ["two sets of them do not fit into the 40 rows", "20 or fewer"]),
        (["--calibration", "few.jsonl"], ["0 calibration samples (in few.jsonl) are too few"]),
        (
            ["--cloud", "runs/lora"],
            ["has an adapter, no whole model", "`curricle export runs/lora/base/seed-3 -o DIR`"],
        ),
        (["--edge", "runs/lora/base/seed-3/model"], ["it is an adapter; `curricle export` merges one"]),
        (["--cloud", "./nowhere"], ["no such folder"]),
        (["--baselines", "lenght"], ["`baselines[0]` is lenght", "'length'"]),
        (["-o", "labels.csv"], [".parquet or .json"]),
        (["-o", "labels.parquet"], ["holds labels of other data, models or settings", "--force"]),
        (["-o", "nan.parquet"], ["holds labels of other data, models or settings"]),
    ],
    ids=str,
)
def test_scoring(refused: Refused, changes: list[str], said: list[str]) -> None:
    line = refused(*SCORE, "-o", "new.parquet", *changes)
    assert all(part in line for part in said), line


def test_too_few_rows_to_score(refused: Refused) -> None:
    line = refused("score", "few.jsonl", *SCORE[2:], "-o", "new.parquet")
    assert "10 calibration samples (the data have 20 rows, of which half are taken at most) are too few" in line


def test_a_cloud_below_the_edge_is_scored_with_a_warning_that_says_why(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["score", "rows.jsonl", "--cloud", "small", "--edge", "edge", "-o", "new.parquet"]
    assert main([*arguments, "--baselines", "none"]) == 0
    [warning] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert "does not say what the edge model still has to learn, as it may be the cloud model that lacks it" in warning


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["data.train=others.jsonl"], ["belongs to other data: none of the 40 examples has one of its 40 labels"]),
        (["data.train=[rows.jsonl, others.jsonl]"], ["lacks a label for 40 of the 80 examples, such as `"]),
        (["curriculum.labels=half.parquet"], ["lacks a label for 15 of the 40 examples"]),
        (["curriculum.labels=half.parquet", "curriculum.strategy=layer_specific"], ["lacks a label for 15 of the 40"]),
        (["curriculum.labels=nan.parquet"], ["`mean` is no finite number for 2 of the 40 examples, such as `"]),
        (
            ["curriculum.labels=nan.parquet", "curriculum.strategy=layer_specific"],
            ["`layers` is no finite number for"],
        ),
        (["curriculum.labels=none.parquet"], ["there is no label file none.parquet", "`curricle score` makes one"]),
        (["curriculum.labels=score"], ["`curriculum.labels: score` needs a large model", "`difficulty.cloud`"]),
        (["curriculum.labels=score", "difficulty.cloud=runs/lora"], ["has an adapter, no whole model"]),
        (["curriculum.labels=other.parquet", "difficulty.clod=cloud"], ["did you mean `cloud`?"]),
        (["curriculum.labels=rows.jsonl"], ["rows.jsonl is no Parquet file"]),
        (["curriculum.column=lenght"], ["no score `lenght`; did you mean `length`?"]),
        (["curriculum.stage_percentiles=[0.5, 0.2, 1.0]"], ["must rise from above 0 to 1.0"]),
        (["curriculum.stage_percentiles=[0.2, 0.5, 0.8]"], ["must rise from above 0 to 1.0", "ends on all"]),
        (["curriculum.stage_percentiles=[0.0, 0.5, 1.0]"], ["must rise from above 0 to 1.0"]),
        (["curriculum.strategy=competence", "curriculum.initial_competence=0"], ["greater than 0"]),
        (
            ["curriculum.strategy=length_ramp", "curriculum.length_schedule=[[0.5, 4], [1.0, 256]]"],
            ["begins with 4 tokens, the shortest example has", "nothing could be drawn"],
        ),
        (
            [*MIX, "curriculum.difficulty_schedule=[{epoch_range: [0, 1], difficulty_weights: {low: 1.0}}]"],
            ["the mix draws from low 1, which hold no example; there are 0 low, 40 unknown"],
        ),
        (["curriculum.strategy=static_mix", "curriculum.shares={low: 0.0}"], ["shares add up to 1"]),
        (
            ["curriculum.strategy=layer_specific", "model.adapter=null"],
            ["layer_specific needs a plain LoRA in model.adapter, and there is none"],
        ),
    ],
    ids=str,
)
def test_training(refused: Refused, overrides: list[str], said: list[str]) -> None:
    line = refused("run", "r.yaml", *sets(*overrides))
    assert all(part in line for part in said), line


def test_a_half_done_run_under_another_curriculum_is_refused_and_goes_on_under_its_own(
    place: Path, refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "r.yaml"]) == 0
    whole = {name: (RUN / name).read_bytes() for name in ("consumed.jsonl", "model/adapter_model.safetensors")}
    for name in ("results.json", "comparison.json"):
        (RUN / name).unlink(missing_ok=True)
    for name in ("model", "checkpoint-6"):
        shutil.rmtree(RUN / name)
    for override, said in (
        ("curriculum.num_stages=4", "`curriculum.num_stages` was 3, is 4"),
        ("curriculum.strategy=competence", "`curriculum.strategy` was layer_wise_progressive, is competence"),
        ("curriculum.control=anti_curriculum", "`curriculum.control`"),
    ):
        assert said in refused("run", "r.yaml", *sets(override))
    shutil.copy("labels.parquet", "kept.parquet")
    shutil.copy("other.parquet", "labels.parquet")  # the same rows under the same name, otherwise hard
    assert "labels of the order" in refused("run", "r.yaml")
    shutil.copy("kept.parquet", "labels.parquet")
    assert main(["run", "r.yaml"]) == 0
    assert "going on from checkpoint-3" in capsys.readouterr().err
    assert {name: (RUN / name).read_bytes() for name in whole} == whole
