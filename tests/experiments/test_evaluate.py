"""Answers and models measured outside of a run give the figures that a run would have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import curricle
from curricle.errors import RecipeError
from curricle.experiments.evaluate import evaluate, read_metrics
from curricle.experiments.toys.sources import toy_rows


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


# --- metrics in one line


def test_a_metric_in_one_line() -> None:
    [entry] = read_metrics(["rouge:tokenizer=eojeol,multi_ref=max"])
    assert (entry.metric, entry.tokenizer, entry.multi_ref, entry.label) == ("rouge", "eojeol", "max", "rouge")
    [entry] = read_metrics(["foreign_script:allow=[Hangul,Han]"])
    assert entry.allow == ["Hangul", "Han"]
    assert read_metrics(["chrf"])[0].metric == "chrf"


def test_several_of_one_metric_have_names_of_their_own() -> None:
    entries = read_metrics(["rouge", "rouge:tokenizer=eojeol,multi_ref=max", "rouge:tokenizer=morpheme,name=m"])
    assert [entry.label for entry in entries] == ["rouge", "rouge-eojeol-max", "m"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["rogue"], ["--metric rogue", "`rogue`", "did you mean `rouge`?"]),
        (["rouge:tokeniser=eojeol"], ["--metric rouge:tokeniser=eojeol", "`tokeniser`", "did you mean `tokenizer`?"]),
        (["rouge:tokenizer=word"], ["word", "'eojeol'"]),
        (["rouge:eojeol"], ["options are key=value"]),
        (["rouge:tokenizer=[eojeol"], ["not YAML"]),
        (["chrf:name=x", "bleu:name=x"], ["two metrics are called `x`"]),
    ],
)
def test_a_metric_that_cannot_be(asked: list[str], said: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        read_metrics(asked)
    assert all(part in str(caught.value) for part in said), str(caught.value)


# --- a model


def test_a_run_is_measured_as_the_run_was(small_runs: Path) -> None:
    for arm in ("whole", "lora", "untouched"):
        run = small_runs / arm / "seed-3"
        recorded = json.loads((run / "results.json").read_bytes())["metrics"]["loss"]
        assert evaluate(run).metrics["loss"] == pytest.approx(recorded, rel=1e-6)


def test_a_run_on_other_rows(small_runs: Path, tmp_path: Path) -> None:
    run, rows = small_runs / "whole" / "seed-3", toy_rows("dialogue", 5, seed=9)
    data = written(tmp_path / "rows.jsonl", rows)
    result = evaluate(run, data=data, output=tmp_path / "out.json")
    assert len(result.measured.ids) == 5
    saved = json.loads((tmp_path / "out.json").read_bytes())
    assert saved["metrics"] == result.metrics
    assert [file["path"] for file in saved["files"]] == [str(data)]
    assert len(saved["per_example"]["scores"]["loss"]["values"]) == 5


def test_an_exported_model_is_the_run(small_runs: Path, tmp_path: Path) -> None:
    run = small_runs / "lora" / "seed-3"
    model = curricle.export(run, tmp_path / "model")
    recorded = json.loads((run / "results.json").read_bytes())["metrics"]["loss"]
    measured = evaluate(model, recipe=small_runs / "recipe.yaml", metrics=["loss"])
    assert measured.metrics["loss"] == pytest.approx(recorded, rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "give a model or a run to measure, or --predictions FILE, and not both"),
        ({"model": "m", "predictions": "p.jsonl"}, "and not both"),
        ({"model": "nano:llama"}, "name that with --recipe"),
        ({"model": "gpt2"}, "name their file as --data"),
        ({"model": "gpt2", "data": "d.jsonl"}, "no metric is named, and the recipe has none"),
        ({"predictions": "p.jsonl", "data": "d.jsonl"}, "no metric is named; add --metric rouge"),
        ({"predictions": "p.jsonl", "metrics": ["chrf"]}, "name the file with the references as --data"),
        ({"predictions": "p.jsonl", "data": "d.jsonl", "metrics": ["loss"]}, "--metric loss needs a model"),
        ({"predictions": "p.jsonl", "data": "d.jsonl", "metrics": ["mmlu:path=x"]}, "--metric mmlu needs a model"),
        (
            {"predictions": "p", "data": "d", "metrics": ["chrf"], "overrides": ["model.dtype=auto"]},
            "without a recipe only `data` can be set",
        ),
    ],
)
def test_what_cannot_be_measured(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        evaluate(**arguments)
    assert said in str(caught.value)


def test_a_run_brings_its_own_recipe(small_runs: Path) -> None:
    with pytest.raises(RecipeError, match="brings its own recipe; change keys of it with --set"):
        evaluate(small_runs / "whole" / "seed-3", recipe=small_runs / "recipe.yaml")


# --- answers


def answers_and_data(tmp_path: Path) -> tuple[Path, Path]:
    rows = [{"id": f"r{i}", **row} for i, row in enumerate(toy_rows("dialogue", 6, seed=2))]
    data = written(tmp_path / "data.jsonl", rows)
    own = [{"id": row["id"], "prediction": row["summary"]} for row in rows[:4]]
    own += [{"id": row["id"], "prediction": text} for row, text in zip(rows[4:], ("", "xyzzy"), strict=True)]
    return written(tmp_path / "answers.jsonl", own[::-1]), data


def test_answers_of_another_tool(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictions, data = answers_and_data(tmp_path)
    result = evaluate(
        predictions=predictions,
        data=data,
        metrics=["rouge:tokenizer=eojeol", "chrf"],
        output=tmp_path / "out.json",
    )
    assert result.metrics["rouge.rouge1"] == pytest.approx(100 * 4 / 6)  # four are right, one empty, one of other words
    assert result.metrics["rouge.sum"] == pytest.approx(3 * 100 * 4 / 6)
    assert 50 < result.metrics["chrf"] < 80
    saved = json.loads((tmp_path / "out.json").read_bytes())
    assert saved["per_example"]["ids"] == [f"r{i}" for i in range(6)]
    assert saved["per_example"]["scores"]["rouge.rougeL"]["values"] == [100, 100, 100, 100, 0, 0]
    assert {Path(file["path"]).name for file in saved["files"]} == {"answers.jsonl", "data.jsonl"}
    assert "empty answers: 1 (first: r4)" in capsys.readouterr().err
    assert "6 examples of" in str(result)


def test_a_recipe_says_what_is_measured(tmp_path: Path) -> None:
    predictions, data = answers_and_data(tmp_path)
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "model: {name_or_path: nano:llama}\n"
        f"data: {{train: {data}, eval: {data}, format: dialogue}}\n"
        "evaluation: [{metric: loss}, {metric: rouge, name: words, tokenizer: eojeol}]\n"
    )
    result = evaluate(predictions=predictions, recipe=recipe)
    assert set(result.metrics) == {f"words.{name}" for name in ("rouge1", "rouge2", "rougeL", "rougeLsum", "sum")}


def test_what_is_missing_counts_nothing(tmp_path: Path) -> None:
    predictions, data = answers_and_data(tmp_path)
    lines = predictions.read_text(encoding="utf-8").splitlines(keepends=True)
    predictions.write_text("".join(lines[2:-1]), encoding="utf-8")  # three right answers are left
    result = evaluate(predictions=predictions, data=data, metrics=["rouge:tokenizer=eojeol"], allow_missing=True)
    assert result.metrics["rouge.rouge1"] == pytest.approx(100 * 3 / 6)


def test_a_models_answers_are_measured_as_its_predictions_are(small_runs: Path, tmp_path: Path) -> None:
    """Generating and scoring in one go, and by way of a file: the same figures."""
    run = small_runs / "whole" / "seed-3"
    data = written(tmp_path / "rows.jsonl", [{"id": i, **row} for i, row in enumerate(toy_rows("dialogue", 5, seed=9))])
    metrics = ["rouge:tokenizer=character", "chrf"]
    at_once = evaluate(run, data=data, metrics=metrics, output=tmp_path / "out.json")
    curricle.predict(run, data, tmp_path / "answers.jsonl")
    by_file = evaluate(predictions=tmp_path / "answers.jsonl", data=data, metrics=metrics)
    assert at_once.metrics == pytest.approx(by_file.metrics)
    assert len(at_once.measured.ids) == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.jsonl", "out.json", "rows.jsonl"]


# --- questions of its own


def test_mmlu_of_a_run_without_any_other_rows(small_runs: Path, tmp_path: Path) -> None:
    for split, num in (("dev", 2), ("test", 5)):
        (tmp_path / split).mkdir()
        lines = [f"Is it {i}?,no,yes,maybe,never,{'ABCD'[i % 4]}\n" for i in range(num)]
        (tmp_path / split / f"law_{split}.csv").write_text("".join(lines))
    asked = f"mmlu:path={tmp_path},num_shots=2"
    found = curricle.evaluate(
        small_runs / "lora" / "seed-3", metrics=[asked], overrides=["data.eval=null", "evaluation=[]"]
    )
    assert list(found.metrics) == ["mmlu.accuracy", "mmlu.law"]
    assert found.metrics["mmlu.law"] == found.metrics["mmlu.accuracy"] in (0, 20, 40, 60, 80, 100)
    assert [Path(one["path"]).name for one in found.files] == ["law_test.csv", "law_dev.csv"]
    beside = curricle.evaluate(small_runs / "whole" / "seed-3", metrics=["loss", asked])
    assert list(beside.metrics) == ["loss", "loss.perplexity", "mmlu.accuracy", "mmlu.law"]
    values = beside.measured.per_example()
    assert len(values["ids"]) == 6 + 5
    assert values["scores"]["mmlu.law"]["weights"] == [0.0] * 6 + [1.0] * 5
    assert set(values["ids"][6:]) == set(found.measured.ids)
