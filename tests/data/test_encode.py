"""Whole sources: order, processes, cache, and sets with nothing to learn."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chat_tokenizers
from curricle.data import encode as encoding
from curricle.data.config import DataConfig
from curricle.data.encode import encode, encode_examples, tokenizer_fingerprint
from curricle.data.sources import read_examples
from curricle.data.table import TokenTable
from curricle.errors import DataError, RunError


def rows(path: Path, count: int) -> str:
    lines = [
        json.dumps(
            {"prompt": f"Question {k}? " + "word " * (k % 40), "completion": f"Answer {k}.", "topic": f"d{k % 3}"}
        )
        for k in range(count)
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


def same(one: TokenTable, other: TokenTable) -> None:
    for name in ("tokens", "supervised", "offsets", "num_supervised", "domains", "sources"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert list(one.ids) == list(other.ids)
    assert one.domain_names == other.domain_names


def table(path: str, tokenizer: Any = None, **settings: Any) -> TokenTable:
    config = DataConfig(train=path, **{"domain_field": "topic", **settings})
    return encode(read_examples(config, "train"), tokenizer or chat_tokenizers.tokenizer_of("qwen2_5"), config)


def test_processes_give_the_table_that_one_process_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "CHUNK", 16)
    monkeypatch.setattr(encoding, "SMALL", 32)
    path = rows(tmp_path / "a.jsonl", 300)
    monkeypatch.setenv("CURRICLE_CACHE", str(tmp_path / "one"))
    alone = table(path, num_workers=0)
    monkeypatch.setenv("CURRICLE_CACHE", str(tmp_path / "two"))
    several = table(path, num_workers=2)
    assert (tmp_path / "one").is_dir()
    assert (tmp_path / "two").is_dir()
    same(alone, several)
    assert alone.report == several.report
    assert len(alone) == 300
    assert alone.report["read"][0].endswith("300 rows, prompt-completion")


def test_a_table_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURRICLE_CACHE", str(tmp_path / "cache"))
    path = rows(tmp_path / "a.jsonl", 20)
    first = table(path)
    folders = sorted((tmp_path / "cache" / "tables").iterdir())
    made = (folders[0] / "tokens.bin").stat().st_mtime_ns
    same(first, table(path, packing="none", num_workers=1))
    assert (folders[0] / "tokens.bin").stat().st_mtime_ns == made
    assert len(table(path, limit=5)) == 5
    table(path, max_length=30)
    table(path, learn="all")
    table(path, chat_tokenizers.tokenizer_of("llama3"))
    assert len(list((tmp_path / "cache" / "tables").iterdir())) == 5


def test_nothing_half_made_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURRICLE_CACHE", str(tmp_path / "cache"))
    path = rows(tmp_path / "a.jsonl", 20)
    with pytest.raises(DataError, match=r"a.jsonl:\d+: longer than data.max_length"):
        table(path, max_length=8)
    assert list((tmp_path / "cache" / "tables").iterdir()) == []


def test_a_set_with_nothing_to_learn_is_refused(tmp_path: Path) -> None:
    path = rows(tmp_path / "a.jsonl", 20)
    with pytest.raises(
        DataError, match=r"nothing to learn in 20 rows; longer than data.max_length.*: 20 \(first: .*:1\)"
    ):
        table(path, max_length=8, on_bad_row="skip")


def test_a_bad_row_in_a_process_is_named_as_in_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "CHUNK", 8)
    monkeypatch.setattr(encoding, "SMALL", 8)
    path = Path(rows(tmp_path / "a.jsonl", 60))
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[49] = json.dumps({"prompt": "Q", "completion": "too long " * 300, "topic": "d0"})
    path.write_text("\n".join(lines), encoding="utf-8")
    for workers in (0, 2):
        with pytest.raises(DataError, match=r"a.jsonl:50: longer than data.max_length"):
            table(str(path), num_workers=workers, max_length=128)


def test_a_process_that_dies_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "CHUNK", 8)
    monkeypatch.setattr(encoding, "SMALL", 8)
    monkeypatch.setattr(encoding, "_encode_here", _die)
    monkeypatch.setenv("CURRICLE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(RunError, match="a tokenizing process died"):
        table(rows(tmp_path / "a.jsonl", 60), num_workers=2)


def _die(chunk: Any) -> None:
    os._exit(9)


def test_examples_from_nowhere_make_the_same_table(tmp_path: Path) -> None:
    path = rows(tmp_path / "a.jsonl", 12)
    config = DataConfig(train=path, domain_field="topic")
    examples = list(read_examples(config, "train"))
    held = encode_examples(examples, chat_tokenizers.tokenizer_of("qwen2_5"), config)
    same(held, table(path))
    assert held.report["examples"] == 12
    with pytest.raises(DataError, match="nothing to learn in 0 rows; there are none"):
        encode_examples([], chat_tokenizers.tokenizer_of("qwen2_5"), config)


def test_the_asked_template_is_used_and_an_end_that_was_added_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.jsonl"
    messages = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
    path.write_text(json.dumps({"messages": messages}), encoding="utf-8")
    bare = (
        "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    tokenizer = chat_tokenizers.tokenizer_with(chat_tokenizers.template("qwen2_5"))
    made = table(str(path), tokenizer, chat_template=bare, domain_field=None)
    tokens, supervised = made.example(0)
    assert tokenizer.decode(tokens) == "user: Q\nassistant: A<eos>"
    assert tokenizer.decode(tokens[supervised]) == "A<eos>"
    assert made.report["end_of_turn"] == "<eos>"
    assert "<eos> is added to each" in capsys.readouterr().err
    table(str(path), tokenizer, chat_template=bare, domain_field=None)
    assert "<eos> is added to each" in capsys.readouterr().err


def test_the_fingerprint_of_a_tokenizer_sees_what_changes_ids() -> None:
    tokenizer = chat_tokenizers.tokenizer_with(chat_tokenizers.template("qwen2_5"))
    before = tokenizer_fingerprint(tokenizer)
    tokenizer(["a", "b b b"], padding=True, truncation=True, max_length=2)
    assert tokenizer_fingerprint(tokenizer) == before
    tokenizer.add_tokens(["<new>"])
    after = tokenizer_fingerprint(tokenizer)
    assert after != before
    tokenizer.chat_template += " "
    assert tokenizer_fingerprint(tokenizer) != after
