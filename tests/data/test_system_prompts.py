"""Which system prompt a row has, where it is left out of what the model reads, and what batches say of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from curricle.data.config import DataConfig
from curricle.data.rows import Rows
from curricle.data.sources import read_examples
from curricle.data.system_prompts import PromptRows, SystemPrompts, read_system_prompts
from curricle.data.table import TokenTable
from curricle.errors import DataError


def row(question: str, system: str | None = None) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": "yes"}]
    return {"messages": [{"role": "system", "content": system}, *messages] if system else messages}


def written(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("\n".join(json.dumps(one) for one in rows), encoding="utf-8")
    return str(path)


def test_a_row_has_its_own_prompt_or_the_recipes(tmp_path: Path) -> None:
    train = written(tmp_path / "train.jsonl", row("a", "one"), row("b"), row("c", "one"))
    held_out = written(tmp_path / "eval.jsonl", row("d", "two"))
    config = DataConfig(train=train, eval=held_out, system_prompt="default", show_system_prompt=False)
    prompts = read_system_prompts(config)
    assert prompts.texts == ["one", "default", "two"]
    ids = [example.id for which in ("train", "eval") for example in read_examples(config, which)]
    assert [prompts.number(name) for name in ids] == [0, 1, 0, 2]
    assert prompts.number(f"{ids[3]}-7") == 2


def test_rows_without_one_are_refused_with_what_to_do(tmp_path: Path) -> None:
    train = written(tmp_path / "train.jsonl", row("a", "one"), row("b"))
    with pytest.raises(DataError, match=r"train.jsonl:2 has no system prompt.*set data.system_prompt"):
        read_system_prompts(DataConfig(train=train))
    for name, fields in (("text", {"text": "some words"}), ("plain", {"prompt": "a", "completion": "b"})):
        train = written(tmp_path / f"{name}.jsonl", fields)
        with pytest.raises(DataError, match=rf"{name}.jsonl:1 has no system prompt.*only chats"):
            read_system_prompts(DataConfig(train=train))


def test_hidden_prompts_are_no_part_of_the_messages_and_change_no_id(tmp_path: Path) -> None:
    train = written(tmp_path / "train.jsonl", row("a", "one"), row("b"))
    shown, hidden = (
        list(read_examples(DataConfig(train=train, system_prompt="default", show_system_prompt=show), "train"))
        for show in (True, False)
    )
    assert [[m.role for m in one.messages] for one in shown] == [["system", "user", "assistant"]] * 2
    assert [[m.role for m in one.messages] for one in hidden] == [["user", "assistant"]] * 2
    assert [one.id for one in shown] == [one.id for one in hidden]
    prints = {read_examples(DataConfig(train=train, show_system_prompt=show), "train").fingerprint for show in (1, 0)}
    assert len(prints) == 2


@pytest.mark.parametrize("packing", ["ordered", "none"])
def test_batches_name_the_prompt_of_each_document(packing: Any) -> None:
    table = TokenTable.from_lists([[1, 2, 3]] * 4, [[-100, 2, 3]] * 4, ids=["a", "b-0", "b-1", "c"])
    prompts = SystemPrompts(["x", "y", "z"], {"a": 2, "b": 0, "c": 1})
    plain = Rows(max_length=8, packing=packing)
    rows = PromptRows(**vars(plain), prompts=prompts)
    batch = rows.collate(table, [[0, 2], [3]])
    assert batch["prompt_ids"] == [2, 0, 1]
    assert set(batch) == {*plain.collate(table, [[0]]), "prompt_ids"}
