"""The length filter counts what training will see: the whole sequence under its chat template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chat_tokenizers import template, tokenizer_with
from curricle.data.config import DataConfig
from curricle.data.encode import encode_examples
from curricle.data.prepare import PreparedCode, prepare
from curricle.data.prepare.lengths import TemplatedLength
from curricle.data.sources import read_examples
from curricle.errors import ModelError
from data.contests import PYTHON3, problem, programs, release


def row(instruction: str, shown: str, output: str) -> dict[str, Any]:
    return {"instruction": instruction, "input": shown, "output": output}


ROWS = [row("Add.", "", "x = 1"), row("Add.", "1 2", "print(3)\n" * 20), row("Use <|im_end|> twice.", "", "y = 2")]


@pytest.mark.parametrize("name", ["qwen2_5", "llama3", "gemma"])
def test_lengths_are_those_of_training(tmp_path: Path, name: str) -> None:
    tokenizer = tokenizer_with(template(name))
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in ROWS))
    config = DataConfig(train=str(path), max_length=4096)
    table = encode_examples(read_examples(config), tokenizer, config)
    assert TemplatedLength(tokenizer, None)(ROWS) == table.lengths.tolist()


def test_longer_rows_are_left_out_and_counted(tmp_path: Path) -> None:
    tokenizer = tokenizer_with(template("qwen2_5"))
    long = problem("1_A", solutions=programs((PYTHON3, "x = 1\n"), (PYTHON3, "x = 1\n" * 300)))
    src = release(tmp_path / "src", train=[long])
    done = prepare("codecontests", src, tmp_path / "out", tokenizer=tokenizer, max_length=300)
    assert isinstance(done, PreparedCode)
    kept = [json.loads(line) for line in done.files["train"].read_text().splitlines()]
    assert [one["task_id"] for one in kept] == ["1_A_correct_0", "1_A_incorrect_0"]
    dropped = done.splits["train"].dropped_programs
    assert {why: skipped.count for why, skipped in dropped.items()} == {"longer than 300 tokens with its template": 1}
    stats = json.loads((done.out / "stats" / "train.json").read_text())
    assert stats["tokens"]["longest"] == max(TemplatedLength(tokenizer, None)(kept)) <= 300


def test_a_tokenizer_without_a_template_asks_for_one(tmp_path: Path) -> None:
    src = release(tmp_path / "src", train=[problem("1_A")])
    with pytest.raises(ModelError, match="has no chat template"):
        prepare("codecontests", src, tmp_path / "out", tokenizer=tokenizer_with(None))
    done = prepare("codecontests", src, tmp_path / "out", tokenizer=tokenizer_with(None), chat_template="chatml")
    assert isinstance(done, PreparedCode)
    assert done.splits["train"].rows == 3
