from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from curricle.data.config import DataConfig
from curricle.data.schema import Example
from curricle.data.sources import read_examples
from curricle.errors import DataError

TALK = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]


def read(folder: Path, entry: dict[str, Any], row: dict[str, Any], name: str = "mine") -> list[Example]:
    (folder / "rows.json").write_text(json.dumps([row, row, row]))
    (folder / "dataset_info.json").write_text(json.dumps({"mine": {"file_name": "rows.json"} | entry}))
    return list(read_examples(DataConfig(train=name, dataset_info=str(folder / "dataset_info.json"))))


@pytest.mark.parametrize(
    ("entry", "row", "expected"),
    [
        ({}, {"instruction": "Add.", "input": "2 2", "output": "4"}, ["user Add.\n2 2", "assistant 4"]),
        (
            {"columns": {"prompt": "q", "response": "a", "system": "s", "history": "h"}},
            {"q": "Add.", "a": "4", "s": "Count.", "h": [["Hi", "Ho"]], "input": "not named, so absent"},
            ["system Count.", "user Hi", "assistant Ho", "user Add.", "assistant 4"],
        ),
        (
            {"formatting": "sharegpt", "columns": {"messages": "talk", "system": "s"}},
            {"talk": TALK, "s": "Be kind."},
            ["system Be kind.", "user Hi", "assistant Hello"],
        ),
        (
            {
                "formatting": "sharegpt",
                "columns": {"messages": "talk"},
                "tags": {"role_tag": "who", "content_tag": "says", "user_tag": "pupil", "assistant_tag": "teacher"},
            },
            {"talk": [{"who": "pupil", "says": "Hi"}, {"who": "teacher", "says": "Hello"}]},
            ["user Hi", "assistant Hello"],
        ),
        (
            {"formatting": "openai"},
            {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]},
            ["user Hi", "assistant Hello"],
        ),
    ],
)
def test_an_entry_gives_format_columns_and_roles(
    tmp_path: Path, entry: dict[str, Any], row: dict[str, Any], expected: list[str]
) -> None:
    example = read(tmp_path, entry, row)[0]
    assert [f"{message.role} {message.content}" for message in example.messages] == expected


def test_a_lone_prompt_column_is_raw_text(tmp_path: Path) -> None:
    example = read(tmp_path, {"columns": {"prompt": "text"}}, {"text": "Once."})[0]
    assert (example.kind, example.text) == ("text", "Once.")


def test_num_samples_takes_the_first_rows_and_a_number_after_the_name_too(tmp_path: Path) -> None:
    row = {"instruction": "a", "output": "b"}
    assert len(read(tmp_path, {"num_samples": 2}, row)) == 2
    assert len(read(tmp_path, {}, row, name="mine#1")) == 1


def test_a_file_may_stand_beside_names(tmp_path: Path) -> None:
    path = tmp_path / "other.jsonl"
    path.write_text('{"text": "x"}\n')
    assert read(tmp_path, {}, {"instruction": "a", "output": "b"}, name=str(path))[0].text == "x"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"hf_hub_url": "x/y"}, "`mine` has hf_hub_url: nothing is fetched"),
        ({"script_url": "x"}, "`mine` has script_url"),
        ({"ranking": True}, "ranking of answers"),
        ({"columns": {"prompt": "a", "images": "pictures"}}, "column `images`, which is not read"),
        ({"formatting": "sharegpt", "columns": {"tools": "tools"}}, "column `tools`"),
        ({"formatting": "other"}, "allowed: alpaca, sharegpt, openai"),
        ({"file_name": None}, "has no file_name"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, entry: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, entry, {"instruction": "a", "output": "b"})


def test_an_unknown_name_and_a_broken_file_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file and no entry of .* is called `mina`; did you mean `mine`"):
        read(tmp_path, {}, {"instruction": "a"}, name="mina")
    info = tmp_path / "broken.json"
    for content, message in {'{"a": ': "not JSON", "[]": "an object of named entries"}.items():
        info.write_text(content)
        with pytest.raises(DataError, match=message):
            read_examples(DataConfig(train="mine", dataset_info=str(info)))
    with pytest.raises(DataError, match="cannot read"):
        read_examples(DataConfig(train="mine", dataset_info=str(tmp_path / "absent.json")))
