"""Files of answers: every row once, under its own id, in both forms, and a try that was cut off gone on with."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import curricle
from curricle.cli import main
from curricle.data.sources import read_examples
from curricle.errors import CurricleError, DataError, RecipeError, RunError
from curricle.experiments.evaluate import evaluate
from curricle.experiments.predict import predict, prompts_of
from curricle.experiments.subject import find_subject
from curricle.experiments.toys.sources import toy_rows
from curricle.generation.answers import answer

ROWS = [{"fname": f"test_{i}", "dialogue": row["dialogue"]} for i, row in enumerate(toy_rows("dialogue", 6, seed=5))]


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return written(tmp_path / "test.jsonl", ROWS)


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("arm", ["whole", "lora", "untouched"])
def test_every_row_is_answered_under_its_id(small_runs: Path, data: Path, arm: str) -> None:
    result = predict(small_runs / arm / "seed-3", data, "out.jsonl")
    rows = rows_of(Path("out.jsonl"))
    assert [row["fname"] for row in rows] == [row["fname"] for row in ROWS]
    assert [row["prediction"] for row in rows] == [one.prediction.strip() for one in result.answers.values()]
    assert all(0 < one.num_tokens <= 12 for one in result.answers.values())  # the recipe's own generation settings
    assert str(result).startswith("out.jsonl: 6 answers, ")
    assert sorted(path.name for path in Path().iterdir()) == ["out.jsonl", "test.jsonl"]


def test_the_csv_of_a_competition(small_runs: Path, data: Path) -> None:
    run = small_runs / "whole" / "seed-3"
    predict(run, data, "out.jsonl")
    predict(run, data, "out.csv", id_column="fname", text_column="summary")
    with open("out.csv", newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert list(rows[0]) == ["fname", "summary"]
    assert [row["summary"] for row in rows] == [row["prediction"] for row in rows_of(Path("out.jsonl"))]


def test_a_target_changes_no_answer(small_runs: Path, data: Path) -> None:
    run = small_runs / "whole" / "seed-3"
    known = written(Path("known.jsonl"), [row | {"summary": "said " * 20} for row in ROWS])
    without, with_target = predict(run, data, "a.jsonl"), predict(run, known, "b.jsonl")
    assert [a.prediction for a in without.answers.values()] == [b.prediction for b in with_target.answers.values()]
    assert [a.prompt for a in without.answers.values()] == [b.prompt for b in with_target.answers.values()]


def test_rows_that_are_left_out_are_named(small_runs: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(data, [*ROWS[:2], {"fname": "empty", "dialogue": ""}, *ROWS[2:]])
    run = small_runs / "whole" / "seed-3"
    with pytest.raises(DataError, match=r"test\.jsonl:3: an empty dialogue"):
        predict(run, data, "out.jsonl")
    result = predict(run, data, "out.jsonl", overrides=["data.on_bad_row=skip"])
    assert list(result.answers) == [row["fname"] for row in ROWS]
    assert "out.jsonl lacks 1 of 7 rows, as data.on_bad_row: skip asks (first: empty)" in capsys.readouterr().err


def test_rows_without_ids_go_by_number(small_runs: Path, data: Path) -> None:
    bare = written(Path("bare.jsonl"), [{"dialogue": row["dialogue"]} for row in ROWS])
    predict(small_runs / "whole" / "seed-3", bare, "out.jsonl")
    assert [row["row"] for row in rows_of(Path("out.jsonl"))] == [1, 2, 3, 4, 5, 6]
    # evaluate knows them by it
    known = written(Path("known.jsonl"), [{"dialogue": row["dialogue"], "summary": "a"} for row in ROWS])
    result = evaluate(predictions="out.jsonl", data=known, id_column="row", metrics=["chrf"])
    assert len(result.measured.ids) == 6


def test_a_try_that_was_cut_off_is_gone_on_with(
    small_runs: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = small_runs / "whole" / "seed-3"
    whole = predict(run, data, "whole.jsonl")
    # What a kill leaves: the hidden file of answers, three of them whole and a half.
    subject = find_subject(run, data=data)
    tokenizer = subject.tokenizer()
    model = subject.load(tokenizer)
    source = read_examples(subject.settings.data, "eval")
    prompts = prompts_of(subject, source, tokenizer, subject.data_for(model), None)
    samples = Path(".out.jsonl.samples.jsonl")
    answer(model, tokenizer, prompts, subject.settings.generation, samples, subject.seed)
    lines = samples.read_bytes().splitlines(keepends=True)
    kept = [json.loads(line) for line in lines[:3]]
    kept[0]["prediction"] = "this one was not made again"
    samples.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in kept) + lines[3][:20])
    capsys.readouterr()
    again = predict(run, data, "out.jsonl")
    assert "3 of 6 answers are there, going on with the rest" in capsys.readouterr().err
    texts = [one.prediction for one in again.answers.values()]
    assert texts == ["this one was not made again", *[one.prediction for one in whole.answers.values()][1:]]
    assert not samples.exists()


def test_a_model_without_a_run(small_runs: Path, data: Path) -> None:
    run = small_runs / "lora" / "seed-3"
    model = curricle.export(run, "model")
    recipe = small_runs / "recipe.yaml"
    exported = predict(model, data, "a.jsonl", recipe=recipe)
    assert [a.prediction for a in exported.answers.values()] == [
        b.prediction for b in predict(run, data, "b.jsonl").answers.values()
    ]
    with pytest.raises(RecipeError, match="No row has a target to go by"):
        predict(model, data, "c.jsonl")
    assert len(predict(model, data, "c.jsonl", max_new_tokens=3).answers) == 6


def test_long_prompts_are_cut_and_counted(small_runs: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = written(Path("long.jsonl"), [ROWS[0], ROWS[1] | {"dialogue": "\n".join([ROWS[1]["dialogue"]] * 9)}])
    result = predict(small_runs / "whole" / "seed-3", long, "out.jsonl")
    assert any(note.startswith("1 prompt cut in the middle") for note in result.notes)
    assert "long.jsonl:2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"output": "out.txt"}, RecipeError, "out.txt: the ending says what is written; it must be .jsonl or .csv"),
        ({"output": "test.jsonl"}, RunError, "test.jsonl is there already; name another file, or replace it with"),
        ({"data": "none.jsonl"}, DataError, "no such data file: none.jsonl"),
        ({"id_column": "name"}, DataError, "no column `name` (--id-column)"),
        ({"text_column": "fname"}, RecipeError, "--text-column fname is the column of ids too"),
        ({"data": "twice.jsonl"}, DataError, "1 id of several rows (first: test_0)"),
        ({"recipe": "r.yaml"}, RecipeError, "brings its own recipe"),
        ({"overrides": ["data.trian=x"]}, RecipeError, "did you mean `train`?"),
        ({"model": "none"}, CurricleError, "there is no"),
    ],
)
def test_what_cannot_be_predicted(
    small_runs: Path, data: Path, options: dict[str, Any], error: type[Exception], said: str
) -> None:
    written(Path("twice.jsonl"), [ROWS[0], ROWS[1], ROWS[0]])
    before = sorted(Path().iterdir())
    asked = {"model": "whole/seed-3", "data": data.name, "output": "out.jsonl", **options}
    with pytest.raises(error) as caught:
        predict(small_runs / asked.pop("model"), **asked)
    assert said in str(caught.value)
    assert sorted(Path().iterdir()) == before


def test_on_the_command_line(small_runs: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(small_runs / "whole" / "seed-3")
    assert main(["predict", run, "test.jsonl", "-o", "out.csv", "--text-column", "summary"]) == 0
    assert capsys.readouterr().out.startswith("out.csv: 6 answers, ")
    assert main(["evaluate", "--predictions", "out.csv", "--data", "test.jsonl", "--metric", "chrf"]) == 2
    assert "no row has a reference to compare with" in capsys.readouterr().err


def test_an_output_is_replaced_when_that_is_asked(small_runs: Path, data: Path) -> None:
    Path("out.csv").write_text("old")
    predict(small_runs / "whole" / "seed-3", data, "out.csv", force=True)
    assert Path("out.csv").read_text(encoding="utf-8").startswith("fname,prediction\n")


def test_answering_needs_no_pad_token(small_runs: Path, data: Path) -> None:
    """A converted model's tokenizer has none; what is under the mask changes no answer."""
    model = curricle.export(small_runs / "whole" / "seed-3", "model")
    options: dict[str, Any] = {"recipe": small_runs / "recipe.yaml", "max_new_tokens": 8}
    known = predict(model, data, "known.jsonl", **options)
    about = json.loads((model / "tokenizer_config.json").read_text(encoding="utf-8"))
    (model / "tokenizer_config.json").write_text(json.dumps({**about, "pad_token": None}), encoding="utf-8")
    subject = find_subject(model, small_runs / "recipe.yaml", data=data)
    assert subject.tokenizer().pad_token == "<|im_end|>"
    without = predict(model, data, "without.jsonl", **options)
    assert [a.prediction for a in without.answers.values()] == [b.prediction for b in known.answers.values()]


def test_a_model_with_heads_is_known_before_its_tokenizer_is_read(small_runs: Path, tmp_path: Path) -> None:
    """In a process of its own: transformers knows such models for as long as a process lives."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from curricle.models.mtp.making import add_heads

    saved = small_runs / "whole" / "seed-3" / "model"
    AutoTokenizer.from_pretrained(saved).save_pretrained(tmp_path / "heads")
    add_heads(AutoModelForCausalLM.from_pretrained(saved), 2, "sequential").save_pretrained(tmp_path / "heads")
    code = "import sys; from curricle.experiments.subject import find_subject; find_subject(sys.argv[1]).tokenizer()"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "heads"], capture_output=True, text=True, check=True)
    assert "You are using a model of type" not in done.stdout + done.stderr
