"""pass@k end to end: files of completions and a model, the real sandbox, and work that goes on where it was stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

import curricle
from curricle.data.problems import Asserts, Cases, Problem, write_problems
from curricle.errors import CurricleError, DataError, RecipeError
from curricle.experiments.code.problems import find_problems
from curricle.experiments.code.tasks import evaluate_task

PREFIX = "def twice(x):\n"
TWICE = Problem("t/0", PREFIX, Asserts("def check(candidate):\n    assert candidate(2) == 4\n"), "    return 2 * x\n",
                "twice", PREFIX)  # fmt: skip
ADD = Problem("t/1", "Write add(a, b).\nassert add(1, 2) == 3\n", Asserts("assert add(1, 2) == 3\n"),
              "def add(a, b):\n    return a + b\n")  # fmt: skip
ECHO = Problem("t/2", "Print what you read.", Cases((("a\n", "a\n"), ("b\n", "b\n"))), "print(input())\n")


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    write_problems(tmp_path / "problems.jsonl", [TWICE, ADD, ECHO])
    return tmp_path / "problems.jsonl"


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_bytes(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


GOOD = [{"task_id": one.task_id, "completion": one.reference} for one in (TWICE, ADD, ECHO)]
BAD = [
    {"task_id": "t/0", "completion": "    return x"},
    {"task_id": "t/1", "completion": "def add(a, b) return a"},
    {"task_id": "t/2", "completion": "print('a')"},
]


# --- files of completions


def test_completions_of_another_tool(problems: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "completions.jsonl", [*GOOD, *BAD[:2], GOOD[2]])
    result = evaluate_task(problems, predictions=file, k=[1, 2], output=tmp_path / "out", workers=1)
    assert result.metrics == {"pass@1": pytest.approx(2 / 3), "pass@2": 1.0}
    assert result.measured.ids == ["t/0", "t/1", "t/2"]
    assert [verdict.passed for verdict in result.verdicts] == [True, True, True, False, False, True]
    saved = json.loads((tmp_path / "out" / "results.json").read_bytes())
    assert saved["metrics"] == result.metrics
    assert saved["per_example"]["scores"]["pass@1"]["values"] == [0.5, 0.5, 1.0]
    assert saved["metric_info"]["pass@1"]["range"] == [0.0, 1.0]
    assert saved["task"]["outcomes"] == {"passed": 4, "failed": 2}
    assert saved["task"]["limits"]["seconds"] == 3.0
    assert saved["task"]["sandbox"]
    assert {"samples", "k", "problems", "rules", "style", "unsafe_execution"} <= set(saved["task"])
    assert "curricle" in saved["versions"]
    assert [(row["task_id"], row["sample"]) for row in lines(tmp_path / "out" / "verdicts.jsonl")] == [
        ("t/0", 0), ("t/1", 0), ("t/2", 0), ("t/0", 1), ("t/1", 1), ("t/2", 1),
    ]  # fmt: skip
    assert "6 programs for 3 problems: passed 4, failed 2" in str(result)


def test_whole_programs_and_chat_answers(problems: Path, tmp_path: Path) -> None:
    rows = [
        {"task_id": "t/0", "solution": "def twice(x):\n    return x + x\n"},
        {"task_id": 1, "completion": "Here:\n```python\ndef add(a, b):\n    return a + b\n```", "style": "chat"},
        {"task_id": "T/2", "completion": "print(input())"},
    ]
    result = evaluate_task(problems, predictions=written(tmp_path / "c.jsonl", rows), workers=1)
    assert result.metrics == {"pass@1": 1.0}
    assert result.task["rules"] == {"whole program": 1, "the code block": 1, "as it is": 1}


def test_a_style_for_rows_that_bring_none(problems: Path, tmp_path: Path) -> None:
    rows = [{"task_id": row["task_id"], "completion": f"```python\n{row['completion']}```"} for row in GOOD]
    file = written(tmp_path / "c.jsonl", rows)
    assert evaluate_task(problems, predictions=file, style="chat", workers=1).metrics == {"pass@1": 1.0}
    assert evaluate_task(problems, predictions=file, workers=1).metrics == {"pass@1": 0.0}


def test_verdicts_that_are_there_are_not_made_again(problems: Path, tmp_path: Path) -> None:
    file, out = written(tmp_path / "c.jsonl", GOOD + BAD), tmp_path / "out"
    evaluate_task(problems, predictions=file, output=out, workers=1)
    whole = (out / "verdicts.jsonl").read_bytes()
    rows = lines(out / "verdicts.jsonl")
    rows[0] |= {"evidence": "of the first try"}
    kept = b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows[:3])
    (out / "verdicts.jsonl").write_bytes(kept + whole.splitlines()[3][:40])  # killed while it wrote
    result = evaluate_task(problems, predictions=file, output=out, workers=1)
    again = lines(out / "verdicts.jsonl")
    assert [row["evidence"] == "of the first try" for row in again] == [True, *[False] * 5]
    assert [row["outcome"] for row in again] == [row["outcome"] for row in rows]
    assert result.metrics == {"pass@1": 0.5}


@pytest.mark.parametrize("change", ["limit", "program", "test", "python", "isolation"])
def test_a_verdict_stands_for_what_it_was_made_of_and_in(
    change: str, problems: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out = written(tmp_path / "c.jsonl", GOOD), tmp_path / "out"
    evaluate_task(problems, predictions=file, output=out, workers=1)
    rows = [row | {"evidence": "old"} for row in lines(out / "verdicts.jsonl")]
    written(out / "verdicts.jsonl", rows)
    options: dict[str, Any] = {}
    if change == "limit":
        options = {"seconds": 2.0}
    elif change == "python":
        monkeypatch.setattr("platform.python_version", lambda: "3.0.0")
    elif change == "isolation":
        options = {"unsafe_execution": True}
    elif change == "program":
        file = written(tmp_path / "c.jsonl", [{**row, "completion": row["completion"] + "# more\n"} for row in GOOD])
    else:
        harder = Asserts("assert add(1, 2) == 3\nassert add(0, 0) == 0\n")
        write_problems(problems, [TWICE, Problem("t/1", ADD.prompt, harder, ADD.reference), ECHO])
    evaluate_task(problems, predictions=file, output=out, workers=1, **options)
    old = [row["evidence"] == "old" for row in lines(out / "verdicts.jsonl")]
    assert old == ([True, False, True] if change == "test" else [False] * 3)


@pytest.mark.parametrize("damage", [b"{\x00", b"5", b"", b"{}", b'{"task_id": "t/0"}'])
def test_a_damaged_verdict_is_named(damage: bytes, problems: Path, tmp_path: Path) -> None:
    file, out = written(tmp_path / "c.jsonl", GOOD), tmp_path / "out"
    evaluate_task(problems, predictions=file, output=out, workers=1)
    first, _, last = (out / "verdicts.jsonl").read_bytes().splitlines()
    (out / "verdicts.jsonl").write_bytes(b"\n".join([first, damage, last, b""]))
    with pytest.raises(DataError, match=r"verdicts\.jsonl:2: this line is damaged and no verdict; remove it"):
        evaluate_task(problems, predictions=file, output=out, workers=1)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"completion": "x"}], "c.jsonl:1: `task_id` is null"),
        ([{"task_id": "t/0"}], "either `completion` or `solution`; found `task_id`"),
        ([{"task_id": "t/0", "completion": "x", "solution": "y"}], "found both"),
        ([{"task_id": "t/0", "completion": 3}], "`completion` is a number, expected text"),
        ([{"task_id": "t/0", "completion": "", "sample": "1"}], "`sample` is"),
        ([{"task_id": "t/0", "completion": "", "style": "chatty"}], "did you mean `chat`"),
        ([{"task_id": "t/0", "completion": "", "sample": 1}] * 2, "two completions called sample 1"),
        ([{"task_id": "u/0", "completion": ""}], "none of its 1 rows is to a problem of"),
        (GOOD[:2], r"1 of 3 problems have no completion \(first: t/2\); --allow-missing"),
    ],
)
def test_completions_that_cannot_be(rows: list[dict[str, Any]], said: str, problems: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "c.jsonl", rows)
    with pytest.raises(CurricleError, match=said):
        evaluate_task(problems, predictions=file, workers=1)


def test_missing_and_unknown_completions_are_said(problems: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "c.jsonl", [*GOOD[:2], {"task_id": "u/9", "completion": ""}])
    result = evaluate_task(problems, predictions=file, allow_missing=True, workers=1)
    assert result.metrics == {"pass@1": pytest.approx(2 / 3)}
    assert [note.split(":")[0] for note in result.notes] == [
        f"completions to no problem of {problems}, left out",
        "1 of 3 problems have no completion (first",
    ]


def test_too_few_samples_are_refused_before_any_is_run(problems: Path, tmp_path: Path) -> None:
    file, out = written(tmp_path / "c.jsonl", GOOD), tmp_path / "out"
    with pytest.raises(RecipeError, match="pass@2 needs 2 samples of every problem"):
        evaluate_task(problems, predictions=file, k=[2], output=out, workers=1)
    assert not (out / "verdicts.jsonl").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"n": 2}, "--n is for a model"),
        ({"k": [0]}, "k"),
        ({"only_generate": True}, "--only-generate is for a model"),
        ({"output": "figures.json"}, "it is a folder"),
        ({"metrics": ["rouge"]}, "--metric is for answers in words"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], said: str, problems: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "c.jsonl", GOOD)
    with pytest.raises(RecipeError, match=said):
        curricle.evaluate(predictions=file, task=problems, workers=1, **options)


def test_options_of_a_task_need_one(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="--unsafe-execution: these go with --task"):
        curricle.evaluate(predictions=tmp_path / "c.jsonl", unsafe_execution=True)


# --- tasks


def published(folder: Path) -> Path:
    written(folder / "HumanEval.jsonl", [
        {"task_id": "HumanEval/0", "prompt": PREFIX, "entry_point": "twice", "canonical_solution": TWICE.reference,
         "test": "def check(candidate):\n    assert candidate(2) == 4\n"},
    ])  # fmt: skip
    return folder


def test_a_public_set_as_published_and_as_prepared(tmp_path: Path) -> None:
    raw = find_problems("humaneval", published(tmp_path))
    curricle.prepare("humaneval", tmp_path, tmp_path / "out")
    prepared = find_problems("humaneval", tmp_path / "out")
    assert raw.by_id == prepared.by_id
    assert raw.by_id["HumanEval/0"].prefix == PREFIX
    assert raw.name == prepared.name == "humaneval"
    assert find_problems(tmp_path / "HumanEval.jsonl") == raw


@pytest.mark.parametrize(("text", "name"), [("text", "mbpp"), ("prompt", "mbpp-sanitized")])
def test_a_published_file_of_mbpp_is_known_as_such(tmp_path: Path, text: str, name: str) -> None:
    row = {text: "Write add.", "code": ADD.reference, "test_list": ["assert add(1, 2) == 3"]}
    found = find_problems(written(tmp_path / "any.jsonl", [{"task_id": number, **row} for number in (10, 11, 12)]))
    assert found.name == name
    assert list(found.by_id) == ["MBPP/11", "MBPP/12"]


@pytest.mark.parametrize(
    ("task", "data", "said"),
    [
        ("humanevl", "x", "no file and no known set; did you mean `humaneval`"),
        ("humaneval", None, "name the folder with its files as --data"),
        ("humaneval", "nowhere", "holds no file of HumanEval"),
        ("nothing.jsonl", None, "no file and no known set"),
    ],
)
def test_a_task_that_is_not_there(task: str, data: str | None, said: str) -> None:
    with pytest.raises(CurricleError, match=said):
        find_problems(task, data)


def test_a_file_of_problems_takes_no_data(problems: Path) -> None:
    with pytest.raises(RecipeError, match="is a file of problems already"):
        find_problems(problems, "folder")


def test_a_row_that_is_no_problem(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"HumanEval\.jsonl:1"):
        find_problems("humaneval", written(tmp_path / "HumanEval.jsonl", [{"task_id": "HumanEval/0"}]).parent)


# --- a model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, libraries: None) -> Path:
    """A random model with a tokenizer that knows the characters of programs."""
    from curricle.models.nano import train_tokenizer
    from support import model as nano_model

    folder = tmp_path_factory.mktemp("model")
    tokenizer = train_tokenizer([TWICE.prompt + TWICE.reference, ADD.prompt + ADD.reference, ECHO.reference], 300)
    tokenizer.chat_template = None
    nano_model("llama", attn="eager", vocab_size=len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


OPTIONS: dict[str, Any] = {"n": 2, "k": [1, 2], "max_new_tokens": 8, "workers": 1, "seed": 3}


def test_a_model_writes_then_its_programs_are_run(model: Path, problems: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = evaluate_task(problems, model, output=out, **OPTIONS)
    assert list(result.metrics) == ["pass@1", "pass@2", "reference_loss", "reference_bits_per_byte"]
    assert result.metrics["pass@2"] == 0.0
    assert 3 < result.metrics["reference_loss"] < 8  # a random model knows nothing: about log(300)
    rows = lines(out / "completions.jsonl")
    assert [(row["task_id"], row["sample"]) for row in rows] == [(f"t/{i}", j) for i in range(3) for j in range(2)]
    assert {row["style"] for row in rows} == {"base"}
    assert rows[0]["completion"] != rows[1]["completion"]
    assert sorted(path.name for path in out.iterdir() if path.name != ".lock") == [
        "completions.jsonl", "completions.meta.json", "results.json", "verdicts.jsonl",
    ]  # fmt: skip
    task = json.loads((out / "results.json").read_bytes())["task"]
    assert (task["n"], task["k"], task["temperature"], task["top_p"], task["seed"]) == (2, [1, 2], 0.8, 0.95, 3)
    assert ["\nclass", "\ndef", "\n#", "\n@", "\nprint", "\nif", "\n```"] in task["stop_texts"]
    # the same programs, read from the file as anybody's
    again = evaluate_task(problems, predictions=out / "completions.jsonl", k=[1, 2], workers=1)
    assert [one.outcome for one in again.verdicts] == [one.outcome for one in result.verdicts]


def test_completions_are_made_once(model: Path, problems: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out"
    only = evaluate_task(problems, model, output=out, only_generate=True, **OPTIONS)
    assert "written, and not run" in str(only)
    assert list(only.metrics) == ["reference_loss", "reference_bits_per_byte"]
    assert not (out / "verdicts.jsonl").exists()
    before = (out / "completions.jsonl").read_bytes()
    capsys.readouterr()
    result = evaluate_task(problems, model, output=out, **OPTIONS)
    assert "these completions are there already" in capsys.readouterr().err
    assert (out / "completions.jsonl").read_bytes() == before
    assert result.measured.scores["reference_loss"].value == only.metrics["reference_loss"]
    evaluate_task(problems, model, output=out, **(OPTIONS | {"seed": 4}))
    assert (out / "completions.jsonl").read_bytes() != before
    assert "these completions" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"n": 1, "k": [2]}, r"pass@2 needs 2 programs a problem, and n is 1"),
        ({"n": 2, "temperature": 0.0}, "at temperature 0 all 2 programs"),
        ({"n": 1, "top_p": 0.9}, "top_p is for drawing"),
        ({"style": "as-is"}, "--style as-is is for completions that are there"),
        ({"stile": "base"}, "did you mean `style`"),
    ],
)
def test_settings_that_cannot_be(options: dict[str, Any], said: str, model: Path, problems: Path) -> None:
    with pytest.raises(RecipeError, match=said):
        evaluate_task(problems, model, **options)


# --- in a recipe


def test_arms_are_compared_on_pass_at_k(problems: Path, tmp_path: Path, monkeypatch: Any, libraries: None) -> None:
    monkeypatch.chdir(tmp_path)
    programs = {"metric": "pass_at_k", "problems": str(problems), "n": 2, "k": [1, 2], "style": "bare"}
    shape = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 1}
    recipe = {
        "name": "code",
        "model": {"name_or_path": "nano:llama", "shape": shape},
        "data": {"train": "toy:dialogue#16", "eval": "toy:dialogue-eval#6", "format": "dialogue", "max_length": 384},
        "training": {"max_steps": 2, "per_device_train_batch_size": 2, "save_strategy": "no"},
        "evaluation": [{"metric": "loss"}, programs | {"max_new_tokens": 8}],
        "arms": {"trained": {}, "untouched": {"trainer": "none"}},
        "seeds": [3],
    }
    result = curricle.run(recipe)
    run = result.runs[0]
    names = ["pass_at_k.pass@1", "pass_at_k.pass@2", "pass_at_k.reference_loss", "pass_at_k.reference_bits_per_byte"]
    assert run.results["figures"] == ["loss", "loss.perplexity", *names]
    assert run.results["metrics"]["pass_at_k.pass@2"] == 0.0
    assert run.results["metrics"]["pass_at_k.reference_loss"] > 1
    assert sorted(path.name for path in (run.folder / "programs_pass_at_k").glob("*.jsonl")) == [
        "completions.jsonl", "verdicts.jsonl",
    ]  # fmt: skip
    assert result.comparison is not None
    assert "pass_at_k.reference_loss" in str(result.comparison)
