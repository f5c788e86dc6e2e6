"""`curricle run` from end to end on small recipes: what is trained, what is not, and what lies in the folder then."""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import curricle
from curricle.cli import main
from curricle.curriculum.labels import write_labels
from curricle.data.config import DataConfig
from curricle.data.sources import read_examples
from curricle.runtime.logs import JsonLog

RECIPE: dict[str, Any] = {
    "name": "r",
    "seed": 3,
    "model": {
        "name_or_path": "nano:llama",
        "shape": {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1},
    },
    "data": {"train": "toy:dialogue#24", "eval": "toy:dialogue-eval#6", "format": "dialogue", "max_length": 384},
    "training": {
        "max_steps": 4,
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
        "save_steps": 2,
        "eval_strategy": "no",
    },
    "evaluation": [{"metric": "loss"}],
}
pytestmark = pytest.mark.usefixtures("libraries")
RUN = Path("runs/r/base/seed-3")
FIGURES = ("loss", "loss.perplexity")
TIMINGS = {"seconds", "tokens_per_second", "peak_memory_bytes"}
BY_THE_CLOCK = {"seconds", "measuring_seconds", "peak_memory_bytes"}


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def recipe(**changes: Any) -> str:
    """The recipe with these changes (mappings merged) in r.yaml."""
    tree = json.loads(json.dumps(RECIPE))
    for key, value in changes.items():
        tree[key] = {**tree[key], **value} if isinstance(value, dict) and key in tree else value
    Path("r.yaml").write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return "r.yaml"


def run(*arguments: str, command: str = "run") -> None:
    assert main([command, "r.yaml", *arguments]) == 0


def results(folder: Path = RUN) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_bytes())


def metrics(folder: Path = RUN) -> list[dict[str, Any]]:
    rows = JsonLog(folder / "metrics.jsonl").rows()
    return [{key: value for key, value in row.items() if key not in TIMINGS} for row in rows]


def losses(folder: Path = RUN) -> list[float]:
    return [row["loss"] for row in metrics(folder)]


def trained(root: Path = Path("runs/r")) -> dict[str, bytes]:
    """Every run's log, times and all: as long as it is the same, nothing was trained again."""
    return {
        f"{path.parent.parent.name}/{path.parent.name}": path.read_bytes()
        for path in root.glob("*/seed-*/metrics.jsonl")
    }


# --- what is trained


@pytest.mark.parametrize(("kind", "packing"), [("llama", "none"), ("qwen2", "ordered")])
def test_both_trainers_train_alike_whole_and_with_lora(kind: str, packing: str) -> None:
    recipe(
        model={"name_or_path": f"nano:{kind}"},
        data={"packing": packing},
        arms={"whole": {}, "lora": {"model": {"adapter": {"lora_r": 4}}}},
        grid={"trainer": ["hf", "trl"]},
    )
    run()
    for arm, weights in (("whole", "model.safetensors"), ("lora", "adapter_model.safetensors")):
        hf, trl = (Path(f"runs/r/{arm}+trainer={trainer}/seed-3") for trainer in ("hf", "trl"))
        assert losses(hf) == pytest.approx(losses(trl), rel=1e-5)
        assert losses(hf)[-1] < losses(hf)[0]
        assert results(hf)["metrics"]["loss"] == pytest.approx(results(trl)["metrics"]["loss"], rel=1e-5)
        saved = {path.name for path in (trl / "model").iterdir()}
        assert {weights, "tokenizer.json", "chat_template.jinja"} <= saved
        assert not any(name.endswith(".bin") for name in saved)


def test_the_folder_and_what_is_in_it() -> None:
    recipe()
    run()
    assert {path.name for path in Path("runs/r").iterdir()} == {
        ".lock",
        "base",
        "comparison.json",
        "environment.json",
        "recipe.yaml",
        "report.html",
        "report.md",
    }
    assert {path.name for path in RUN.iterdir()} == {
        "arm.json",
        "checkpoint-2",
        "checkpoint-4",
        "consumed.jsonl",
        "metrics.jsonl",
        "model",
        "results.json",
        "scores.json",
    }
    found = results()
    assert (found["arm"], found["seed"], found["steps"]) == ("base", 3, 4)
    assert found["recipe_hash"] == json.loads((RUN / "arm.json").read_bytes())["hash"]
    assert found["versions"].keys() >= {"curricle", "torch", "transformers", "trl", "peft"}
    assert found["git"] is None  # the folder is no repository
    assert found["data"]["train"]["examples"] == 24
    assert found["data"]["eval"]["examples"] == 6
    assert found["data"]["train"]["ids_hash"] != found["data"]["eval"]["ids_hash"]
    assert found["tokens"] == metrics()[-1]["tokens"] == sum(row["step_tokens"] for row in metrics())
    assert found["train_loss"] == losses()[-1]
    assert found["metrics"]["loss.perplexity"] == pytest.approx(math.exp(found["metrics"]["loss"]))
    environment = json.loads(Path("runs/r/environment.json").read_bytes())
    assert environment["versions"] == found["versions"]
    assert environment["world_size"] == 1
    consumed = JsonLog(RUN / "consumed.jsonl").rows()
    assert [line["step"] for line in consumed] == [1, 2, 3, 4]
    assert all(len(line["rows"]) == 2 for line in consumed)
    taken = Counter(i for line in consumed for row in line["rows"] for i in row)
    assert (taken.total() - len(taken), taken.total() / 24) == (found["repeats"], found["epochs"])
    [row] = json.loads(Path("runs/r/comparison.json").read_bytes())["runs"]
    assert (row["arm"], row["seed"], row["folder"]) == ("base", 3, "base/seed-3")
    assert row["results"]["metrics"] == found["metrics"]


def test_the_resolved_recipe_runs_as_the_same_experiment() -> None:
    recipe(arms={"a": {}, "b": {"training": {"learning_rate": 1e-3}}})
    run()
    before = trained()
    shutil.copy("runs/r/recipe.yaml", "r.yaml")
    run()
    assert trained() == before


def test_a_model_saved_by_transformers() -> None:
    from transformers import AutoModelForCausalLM

    from curricle.experiments.toys.sources import toy_rows
    from curricle.models.nano import nano_config, train_tokenizer

    tokenizer = train_tokenizer([row["dialogue"] for row in toy_rows("dialogue", 24)], 300)
    tokenizer.save_pretrained("models/mine")
    AutoModelForCausalLM.from_config(nano_config("qwen2", len(tokenizer))).save_pretrained("models/mine")
    recipe(model={"name_or_path": "models/mine", "shape": {}}, arms={"whole": {}, "lora": {"model": {"adapter": {}}}})
    run()
    for arm in ("whole", "lora"):
        assert losses(Path(f"runs/r/{arm}/seed-3"))[-1] < losses(Path(f"runs/r/{arm}/seed-3"))[0]
    adapter = json.loads(Path("runs/r/lora/seed-3/model/adapter_config.json").read_bytes())
    assert adapter["base_model_name_or_path"] == "models/mine"


def test_several_files_with_weights_and_a_loss_for_each_domain() -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [{"prompt": f"{i} + {i}", "completion": str(2 * i), "kind": "sum"} for i in range(12)]
    Path("sums.csv").write_text(
        "prompt,completion,kind\n" + "".join(",".join(row.values()) + "\n" for row in rows), encoding="utf-8"
    )
    chats = [
        {
            "messages": [{"role": "user", "content": f"after {i}"}, {"role": "assistant", "content": str(i + 1)}],
            "kind": "next",
        }
        for i in range(6)
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(chats), "chats.parquet")
    recipe(
        data={
            "train": ["sums.csv#8", {"path": "chats.parquet", "weight": 2}],
            "eval": ["sums.csv", "chats.parquet"],
            "format": "auto",
            "domain_field": "kind",
            "packing": "none",
        },
        training={"max_steps": 5, "per_device_train_batch_size": 4},
    )
    run()
    drawn = Counter(i for line in JsonLog(RUN / "consumed.jsonl").rows() for row in line["rows"] for i in row)
    assert drawn == {**dict.fromkeys(range(8), 1), **dict.fromkeys(range(8, 14), 2)}
    assert metrics()[0]["domain_loss"].keys() == {"sum", "next"}
    assert results()["repeats"] == 6
    of_domain = results()["domain_loss"]
    assert of_domain.keys() == {"sum", "next"}
    assert min(of_domain.values()) < results()["metrics"]["loss"] < max(of_domain.values())


# --- what is not trained


def test_a_plan_trains_and_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    recipe(arms={"packed": {}, "single": {"data": {"packing": "none"}}}, seeds=[0, 1])
    run("--plan")
    out = capsys.readouterr().out
    assert "r: 2 arms x 2 seeds = 4 runs" in out
    assert "memory by formula, KiB" in out
    assert [line.split()[0] for line in out.splitlines() if line.startswith(("packed", "single"))] == [
        "packed",
        "single",
    ] * 2
    assert not Path("runs").exists()


def test_the_plan_is_what_is_then_done() -> None:
    for training in ({"max_steps": 5}, {"max_steps": -1, "num_train_epochs": 2}):
        recipe(training=training)
        [planned] = curricle.run("r.yaml", plan=True).arms
        [done] = curricle.run("r.yaml", force=True).runs
        assert planned.row["steps"] == done.results["steps"]
        assert planned.row["tokens"] == pytest.approx(done.results["tokens"], rel=0.1)
        assert planned.row["repeats"] == pytest.approx(done.results["repeats"], abs=2)
        assert planned.row["epochs"] == pytest.approx(done.results["epochs"], rel=0.1)


def test_a_plan_tells_what_was_cut(capsys: pytest.CaptureFixture[str]) -> None:
    recipe(data={"max_length": 400}, arms={"a": {}, "b": {"data": {"max_length": 1000}}})
    run("--plan")
    notes = capsys.readouterr().out.split("\n\n")[-1].splitlines()
    assert all(note.startswith("a: data.") for note in notes)
    assert any("examples truncated (first: " in note for note in notes)


def test_smoke_leaves_nothing_behind(capsys: pytest.CaptureFixture[str]) -> None:
    recipe(arms={"whole": {}, "lora": {"trainer": "trl", "model": {"adapter": {"lora_r": 2}}}})
    run("--smoke")
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[1:3]] == ["whole", "lora"]
    assert "every part of r ran once" in out
    assert [path.name for path in Path.cwd().iterdir()] == ["r.yaml"]


def test_what_is_finished_is_not_run_again(capsys: pytest.CaptureFixture[str]) -> None:
    recipe()
    run()
    before, out = trained(), capsys.readouterr().out
    run()
    again = capsys.readouterr()
    assert trained() == before
    assert again.out == out
    assert "finished before; --force runs it again" in again.err
    run("--force")
    assert trained() != before
    assert losses() == [json.loads(line)["loss"] for line in before["base/seed-3"].splitlines()]


def test_data_changed_after_a_run_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"prompt": "a", "completion": "b"}
    Path("rows.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    recipe(data={"train": "rows.jsonl", "eval": None, "format": "auto"}, evaluation=[], training={"max_steps": 1})
    run()
    Path("rows.jsonl").write_text(json.dumps(row | {"completion": "c"}) + "\n", encoding="utf-8")
    capsys.readouterr()
    run()
    assert "finished before, on another rows.jsonl; --force runs it again" in capsys.readouterr().err


def test_labels_changed_after_a_run_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"prompt": "a", "completion": "b"}
    Path("rows.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    ids = [example.id for example in read_examples(DataConfig(train="rows.jsonl"), "train")]
    write_labels("labels.parquet", ids, {"mean": [1.0]})
    recipe(
        data={"train": "rows.jsonl", "eval": None, "format": "auto"},
        curriculum={"strategy": "easy_to_hard", "labels": "labels.parquet"},
        evaluation=[],
        training={"max_steps": 1},
    )
    run()
    run()
    assert "finished before; --force runs it again" in capsys.readouterr().err
    write_labels("labels.parquet", ids, {"mean": [2.0]})
    run()
    assert "finished before, on another labels.parquet; --force runs it again" in capsys.readouterr().err


def test_arms_and_seeds_can_be_added_later() -> None:
    recipe(seeds=[0])
    run()
    first = trained()
    assert first.keys() == {"base/seed-0"}
    recipe(seeds=[0], arms={"base": {}, "fast": {"training": {"learning_rate": 2e-2}}})
    run("--arms", "fast", "--seeds", "0,1")
    second = trained()
    assert second.keys() == {"base/seed-0", "fast/seed-0", "fast/seed-1"}
    run("--seeds", "1")
    third = trained()
    assert third.keys() == {"base/seed-0", "base/seed-1", "fast/seed-0", "fast/seed-1"}
    assert {**third, **first, **second} == third
    compared = json.loads(Path("runs/r/comparison.json").read_bytes())["runs"]
    assert [(row["arm"], row["seed"]) for row in compared] == [("base", 0), ("base", 1), ("fast", 0), ("fast", 1)]
    assert yaml.safe_load(Path("runs/r/recipe.yaml").read_text())["arms"].keys() == {"base", "fast"}


def test_train_then_run_measures_without_training() -> None:
    recipe()
    run(command="train")
    before = trained()
    assert "metrics" not in results()
    assert not Path("runs/r/comparison.json").exists()
    run()
    assert trained() == before
    assert results()["metrics"]["loss"] > 0


def test_another_recipe_wants_another_folder(capsys: pytest.CaptureFixture[str]) -> None:
    recipe()
    run()
    before = trained()
    assert main(["run", "r.yaml", "--set", "training.learning_rate=1e-3"]) == 2
    assert "holds another recipe: `training.learning_rate` was 0.01, is 0.001" in capsys.readouterr().err
    assert trained() == before
    run("--set", "training.learning_rate=1e-3", "--set", "name=slower")
    assert losses(Path("runs/slower/base/seed-3")) != losses()
    run("--set", "training.learning_rate=1e-3", "--force")
    assert losses() == losses(Path("runs/slower/base/seed-3"))


# --- what goes on


def lose(*names: str) -> None:
    for name in names:
        path = RUN / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize("gone", [["results.json"], ["results.json", "model", "checkpoint-4"]])
def test_a_half_done_run_goes_on(gone: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    recipe(model={"adapter": {"lora_r": 4, "lora_dropout": 0.2}})
    run()
    weights = RUN / "model" / "adapter_model.safetensors"
    rows, found, saved = metrics(), results(), weights.read_bytes()
    lose(*gone)
    run()
    assert f"going on from checkpoint-{2 if 'model' in gone else 4}" in capsys.readouterr().err
    assert (metrics(), weights.read_bytes()) == (rows, saved)
    now = results()
    assert {key: now[key] for key in now.keys() - BY_THE_CLOCK} == {
        key: found[key] for key in now.keys() - BY_THE_CLOCK
    }


# --- which checkpoint


GROWING_STEPS = {"lr_scheduler_type": "constant_with_warmup", "warmup_steps": 12, "learning_rate": 1.0, "max_steps": 12}
"""The learning rate climbs until the loss does too: the best checkpoint is one of the first."""


def held_out(folder: Path = RUN) -> dict[int, dict[str, float]]:
    """Each evaluation by its step."""
    return {row["step"]: row for row in JsonLog(folder / "heldout.jsonl").rows()}


@pytest.mark.parametrize("metric", ["loss", "chrf"])
def test_the_best_checkpoint_becomes_the_model(metric: str) -> None:
    recipe(
        selection={"metric": metric, "num_examples": 6},
        generation={"max_new_tokens": 12},
        training={**GROWING_STEPS, "eval_strategy": "steps", "eval_steps": 2, "save_total_limit": None},
    )
    run()
    evaluations = held_out()
    better: Callable[..., int] = max if metric == "chrf" else min
    best = better(evaluations, key=lambda step: evaluations[step][metric])
    if metric == "loss":  # it grows with the steps; which answers are best, chance decides
        assert best < 12
    assert results()["best_checkpoint"] == f"checkpoint-{best}"
    assert results()["metrics"]["loss"] == pytest.approx(evaluations[best]["loss"], rel=1e-5)
    assert results()["steps"] == 12


def test_an_early_stop_comes_at_the_same_step_after_a_resume(capsys: pytest.CaptureFixture[str]) -> None:
    recipe(
        selection={"metric": "loss", "patience": 2},
        training={**GROWING_STEPS, "eval_strategy": "steps", "eval_steps": 1, "save_total_limit": None},
    )
    run()
    evaluations, found, rows = held_out(), results(), metrics()
    best = min(evaluations, key=lambda step: evaluations[step]["loss"])
    assert found["steps"] == best + 2 < 12
    assert f"step {best + 2}: eval_loss has not bettered" in capsys.readouterr().err
    lose("results.json", "model", f"checkpoint-{best + 2}")  # one evaluation of the two was waited for
    run()
    assert f"going on from checkpoint-{best + 1}" in capsys.readouterr().err
    assert (results()["steps"], results()["best_checkpoint"]) == (best + 2, f"checkpoint-{best}")
    assert (metrics(), held_out()) == (rows, evaluations)
    assert results()["metrics"]["loss"] == found["metrics"]["loss"]


# --- recipes


def test_a_grid_of_arms_and_a_recipe_that_extends_another() -> None:
    recipe()
    Path("grid.yaml").write_text(
        "extends: r.yaml\nseeds: [0]\ntraining: {max_steps: 1}\n"
        "grid: {training.learning_rate: [1.0e-3, 2.0e-3], data.lookahead: [1, 8]}\n"
    )
    assert main(["run", "grid.yaml"]) == 0
    assert trained(Path("runs/grid")).keys() == {
        f"learning_rate={rate}+lookahead={ahead}/seed-0" for rate in ("0.001", "0.002") for ahead in (1, 8)
    }
    assert main(["run", "grid.yaml", "--arms", "learning_rate=0.001+lookahead=1", "--seeds", "5"]) == 0
    assert len(trained(Path("runs/grid"))) == 5


def test_from_python(capsys: pytest.CaptureFixture[str]) -> None:
    trained_only = curricle.train(RECIPE, overrides=["training.max_steps=2"])
    assert [run.results["steps"] for run in trained_only.runs] == [2]
    done = curricle.run(curricle.Recipe(**RECIPE), overrides=["training.max_steps=2"], seeds=[3])
    assert capsys.readouterr().out == ""
    [only] = done.runs
    assert only.folder == RUN
    assert only.results == results()
    table = str(done).splitlines()
    assert table[0].startswith("r: base")
    assert table[-1] == "report: runs/r/report.html"
    assert done.report.is_file()
    assert done.comparison is not None
    assert done.comparison.cell("base", "loss").per_seed == {3: only.results["metrics"]["loss"]}
    rows = str(trained_only).splitlines()
    assert rows[0].split() == ["arm", "seed", "steps", "tokens", "repeats", "train_loss", "seconds"]
    assert rows[1].split()[:3] == ["base", "3", "2"]
    assert trained_only._repr_markdown_().splitlines()[1].count("---") == 7
    with pytest.raises(curricle.CurricleError, match="no arm `x`"):
        curricle.run(RECIPE, arms=["x"])
