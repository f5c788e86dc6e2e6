"""Rows of programs under a chat template: the program and its end are learned, the task and the shown tests never."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chat_tokenizers import tokenizer_of
from curricle.data.config import DataConfig
from curricle.data.encode import encode_examples
from curricle.data.sources import read_examples

ENDS = {"llama3": "<|eot_id|>", "qwen2_5": "<|im_end|>", "qwen3": "<|im_end|>"}
PROGRAMS = [
    "def add(a, b):\n    return a + b\n",
    "print(sum(map(int, input().split())))",
    "if True:\n\tx = '가'\n\n\ny = 1",
]


@pytest.mark.parametrize("shown", ["", "Example input:\n1 2\nExample output:\n3"])
@pytest.mark.parametrize("name", ENDS)
def test_the_output_and_its_end_are_learned_and_nothing_else(tmp_path: Path, name: str, shown: str) -> None:
    rows: list[dict[str, Any]] = [
        {
            "instruction": f"Add numbers.\n{PROGRAMS[0]}",  # a task may show what is to be written
            "input": shown,
            "output": program,
            "task_id": f"p_{'' if right else 'in'}correct_{number}",
            "is_correct": right,
            "metadata": {"source": "code_contests", "difficulty": 7, "has_tests": True},
        }
        for number, program in enumerate(PROGRAMS)
        for right in (True, False)
    ]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = DataConfig(train=str(path), max_length=4096)
    tokenizer = tokenizer_of(name)
    table = encode_examples(read_examples(config), tokenizer, config)
    assert len(table) == len(rows)
    for i, row in enumerate(rows):
        tokens, learned = table.example(i)
        said = row["output"].strip() if name == "llama3" else row["output"]  # Llama 3's template trims
        assert tokenizer.decode(tokens[learned]) == said + ENDS[name]
        first = int(np.flatnonzero(learned)[0])
        asked = tokenizer.decode(tokens[:first])
        assert row["instruction"].strip() in asked
        assert shown in asked
        assert not learned[:first].any()
        assert learned[first : first + learned.sum()].all(), "one piece"
