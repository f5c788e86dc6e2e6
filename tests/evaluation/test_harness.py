"""lm-evaluation-harness on a task of our own, where the package is there; one clear line where it is not."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import chat_tokenizers
from curricle.errors import MissingExtra, RecipeError
from curricle.evaluation.config import LmEval
from curricle.evaluation.harness import Values, harness, refuse_unready
from support import lora, model

TASK = """
task: colours
dataset_path: json
dataset_kwargs: {{data_files: {{test: {path}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: [red, green, blue]
doc_to_target: answer
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 3}}
"""


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(MissingExtra, match=r"pip install 'curricle\[lm-eval\]'"):
        refuse_unready(LmEval(metric="lm_eval", tasks=["arc_easy"]))


def test_questions_of_several_tasks_lie_side_by_side() -> None:
    values = Values()
    for figure, id_, value in (("a.acc", "x", 1.0), ("a.acc", "y", 0.0), ("b.acc", "z", 1.0), ("a.f1", "y", 0.5)):
        values.add(figure, id_, value)
    assert list(values.ids) == ["x", "y", "z"]
    found = values.of("a.acc")
    assert found is not None
    assert [one.tolist() for one in found] == [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]
    assert values.of("c.acc") is None


def likeliest(net: Any, tokenizer: Any, prompt: str) -> int:
    """By all logits of the whole text, a choice at a time."""
    sums = []
    for choice in ("red", "green", "blue"):
        before = tokenizer(prompt)["input_ids"]
        tokens = tokenizer(f"{prompt} {choice}")["input_ids"]
        with torch.no_grad():
            logits = net(input_ids=torch.tensor([tokens])).logits[0].double().log_softmax(-1)
        sums.append(sum(logits[t - 1, tokens[t]].item() for t in range(len(before), len(tokens))))
    return int(np.argmax(sums))


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("adapter", [False, True])
def test_a_task_of_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adapter: bool) -> None:
    pytest.importorskip("lm_eval")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    rows = [{"question": f"Which colour is {i}?", "answer": i % 3} for i in range(7)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "colours.yaml").write_text(TASK.format(path=tmp_path / "rows.jsonl"))
    asked = LmEval(metric="lm_eval", tasks=["colours"], limit=6, task_folder=str(tmp_path / "tasks"))
    refuse_unready(asked)
    tokenizer = chat_tokenizers.tokenizer_of("qwen2_5")
    net = model(vocab_size=len(tokenizer), max_position_embeddings=256).eval()
    net = lora(net).eval() if adapter else net
    ids, [score] = harness(net, tokenizer, asked, batch_size=2)
    assert (score.name, len(ids), score.higher_is_better) == ("colours.acc", 6, True)
    assert score.per_example is not None
    right = [likeliest(net, tokenizer, row["question"]) == row["answer"] for row in rows[:6]]
    assert score.per_example.tolist() == [float(one) for one in right]
    assert score.value == pytest.approx(np.mean(score.per_example))
    assert "task version 3" in score.note
    assert "6 questions; standard error" in score.note
    with pytest.raises(RecipeError, match="no task `colour`"):
        refuse_unready(asked.model_copy(update={"tasks": ["colour"]}))
