"""How a multi-token model's drafts fared stands in every result that its answers went into."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import curricle
from curricle.data.problems import Asserts, Problem, write_problems
from curricle.generation.answers import in_words

ROWS = [
    {"prompt": f"What is {i} and {j}?", "completion": f"It is {i + j}, of course."} for i in range(3) for j in (1, 2)
]
ADD = Problem("t/0", "Write add(a, b).\nassert add(1, 2) == 3\n", Asserts("assert add(1, 2) == 3\n"), "add = max\n")


def recipe(**changes: Any) -> dict[str, Any]:
    return {
        "name": "drafts",
        "model": {
            "name_or_path": "nano:llama",
            "shape": {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 4},
            "mtp": {"num_future_tokens": 3},
        },
        "data": {"train": "rows.jsonl", "eval": "rows.jsonl", "format": "prompt-completion", "max_length": 128},
        "training": {"max_steps": 1, "per_device_train_batch_size": 2, "use_cpu": True, "save_strategy": "no"},
        "generation": {"max_new_tokens": 12, "speculative": True},
        "evaluation": [{"metric": "chrf"}, {"metric": "pass_at_k", "problems": "problems.jsonl", "n": 2, "k": [1]}],
        "seeds": [0],
        **changes,
    }


def test_results_of_a_run_and_of_an_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, libraries: None
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    write_problems(Path("problems.jsonl"), [ADD])
    curricle.run(recipe())
    run = Path("runs/drafts/base/seed-0")
    found = json.loads((run / "results.json").read_text())["speculation"]
    assert set(found) == {"answers", "pass_at_k"}
    for about in found.values():
        assert len(about["acceptance"]) == 2
        assert about["calls"] > 0
        assert 1 <= about["tokens_per_call"] <= 3
    assert json.loads((run / "samples_eval.meta.json").read_text())["speculation"] == found["answers"]
    about = json.loads((run / "programs_pass_at_k" / "results.json").read_text())["task"]["speculation"]
    assert about == found["pass_at_k"]
    again = curricle.evaluate(model=run, metrics=["chrf"])
    assert again.notes == [f"answers: {in_words(found['answers'])}"]
