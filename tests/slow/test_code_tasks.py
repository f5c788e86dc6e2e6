"""pass@k on the public sets, and processes that are killed while they write programs or run them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

import curricle
from curricle.data.problems import Asserts, Problem, read_problems, write_problems
from curricle.experiments.code.tasks import evaluate_task

pytestmark = pytest.mark.slow

PATIENT = 60
"""Seconds: what is asked is whether a reference is right. MBPP/123 adds numbers for about three seconds, or ten."""
MATCH = "returned an object that is no plain value: Match"
"""Three sanitized references return what re gives them; a value from inside the sandbox is plain or nothing."""
NOT_PASSING: dict[str, dict[str, tuple[str, str]]] = {
    "mbpp": {},
    "mbpp-sanitized": {
        "MBPP/737": ("failed", MATCH),
        "MBPP/787": ("failed", MATCH),
        "MBPP/794": ("failed", MATCH),
    },
}


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_bytes(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))
    return path


def references(problems: Path, path: Path) -> Path:
    return written(path, [{"task_id": one.task_id, "completion": one.reference} for one in read_problems(problems)])


def lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


# --- public sets


def test_the_published_sample_file_has_its_published_figure(shared_data: Path) -> None:
    folder = shared_data / "humaneval"
    samples, problem = folder / "example_samples.jsonl", folder / "example_problem.jsonl"
    result = evaluate_task("humaneval", predictions=samples, data=problem)
    assert result.metrics == {"pass@1": 0.4999999999999999}
    outcomes = [verdict.outcome for verdict in result.verdicts]
    assert outcomes == ["failed", "timeout", "failed", "passed", "passed", "passed"]


def test_every_canonical_solution_of_humaneval_passes(shared_data: Path, tmp_path: Path) -> None:
    curricle.prepare("humaneval", shared_data / "humaneval", tmp_path / "data")
    file = references(tmp_path / "data" / "test_problems.jsonl", tmp_path / "c.jsonl")
    for data in (shared_data / "humaneval", tmp_path / "data"):
        result = evaluate_task("humaneval", predictions=file, data=data, seconds=PATIENT)
        assert [verdict for verdict in result.verdicts if not verdict.passed] == []
        assert (len(result.verdicts), result.metrics) == (164, {"pass@1": 1.0})


@pytest.mark.parametrize(("task", "number"), [("mbpp", 974), ("mbpp-sanitized", 427)])
def test_references_of_mbpp_that_do_not_pass_are_known(
    task: str, number: int, shared_data: Path, tmp_path: Path
) -> None:
    curricle.prepare(task, shared_data / "mbpp", tmp_path / "data")
    ran, found = 0, {}
    for problems in sorted((tmp_path / "data").glob("*_problems.jsonl")):
        result = evaluate_task(problems, predictions=references(problems, tmp_path / "c.jsonl"), seconds=PATIENT)
        ran += len(result.verdicts)
        found |= {one.task_id: (one.outcome, one.evidence) for one in result.verdicts if not one.passed}
    assert ran == number
    assert sorted(found) == sorted(NOT_PASSING[task])
    for task_id, (outcome, reason) in NOT_PASSING[task].items():
        assert found[task_id][0] == outcome
        assert reason in found[task_id][1]


# --- kills


def many(folder: Path, number: int) -> Path:
    problems = [
        Problem(f"t/{i}", f"Give {i}.", Asserts(f"assert f() == {i}\n"), f"def f():\n    return {i}\n")
        for i in range(number)
    ]
    write_problems(folder / "problems.jsonl", problems)
    return folder / "problems.jsonl"


def killed_after(num: int, path: Path, *arguments: object) -> int:
    """Start the command, kill it once the file has so many lines, and give the number it has then."""
    command = [sys.executable, "-m", "curricle", "evaluate", *map(str, arguments)]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 300
    while child.poll() is None and time.monotonic() < limit:
        if path.exists() and path.read_bytes().count(b"\n") >= num:
            child.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    assert child.wait() == -signal.SIGKILL, "it was over before it could be killed"
    return path.read_bytes().count(b"\n")


def test_running_goes_on_after_a_kill(tmp_path: Path) -> None:
    problems, out = many(tmp_path, 150), tmp_path / "out"
    rows = [{"task_id": f"t/{i}", "completion": f"def f():\n    return {i - i % 2}\n"} for i in range(150)]
    file = written(tmp_path / "c.jsonl", rows)
    arguments = ("--predictions", file, "--task", problems, "--workers", 1, "-o", out)
    there = killed_after(20, out / "verdicts.jsonl", *arguments)
    assert 20 <= there < 150
    before = lines(out / "verdicts.jsonl")[:there]
    result = evaluate_task(problems, predictions=file, output=out, workers=1)
    after = lines(out / "verdicts.jsonl")
    assert after[:there] == before  # seconds too: they were not run again
    assert [row["outcome"] for row in after] == ["passed", "failed"] * 75
    assert result.metrics == {"pass@1": 0.5}


def test_writing_goes_on_after_a_kill(tmp_path: Path, capsys: Any, libraries: None) -> None:
    from curricle.models.nano import train_tokenizer
    from support import model as nano_model

    problems, out = many(tmp_path, 40), tmp_path / "out"
    tokenizer = train_tokenizer([problems.read_text(encoding="utf-8")], 300)
    tokenizer.chat_template = None
    nano_model("llama", attn="eager", vocab_size=len(tokenizer), max_position_embeddings=512).save_pretrained(
        tmp_path / "model"
    )
    tokenizer.save_pretrained(tmp_path / "model")
    options: dict[str, Any] = {"n": 4, "k": [1, 4], "max_new_tokens": 120, "only_generate": True}
    evaluate_task(problems, tmp_path / "model", output=tmp_path / "whole", **options)
    flags = ("--n", 4, "--k", "1,4", "--max-new-tokens", 120, "--only-generate")
    there = killed_after(10, out / ".samples.jsonl", tmp_path / "model", "--task", problems, *flags, "-o", out)
    assert 10 <= there < 160
    assert not (out / "completions.jsonl").exists()
    capsys.readouterr()
    evaluate_task(problems, tmp_path / "model", output=out, **options)
    assert f"{there} of 160 answers are there" in capsys.readouterr().err
    assert (out / "completions.jsonl").read_bytes() == (tmp_path / "whole" / "completions.jsonl").read_bytes()
