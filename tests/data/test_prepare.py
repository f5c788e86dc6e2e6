from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from curricle.data.config import DataConfig
from curricle.data.prepare import prepare, prepare_dialogsum, prepare_personachat
from curricle.data.schema import Message
from curricle.data.sources import read_examples
from curricle.errors import DataError
from curricle.runtime.files import sha256_file

TRAIN = [
    {"fname": "train_0", "dialogue": "#Person1#: It's \u2028 5.\n#Person2#: Ok.", "summary": "Five.", "topic": "time"},
    {"fname": "train_1", "dialogue": "#Person1#: Hi.", "summary": " ", "topic": "hello"},
]
DEV = [{"fname": "dev_0", "dialogue": "#Person1#: Ho.", "summary": "Ho.", "topic": ""}]
TEST = [
    {"fname": "test_0", "dialogue": "#Person1#: Ha."}
    | {f"summary{k}": f"Ha {k}." for k in (1, 2, 3)}
    | {f"topic{k}": f"laugh {k}" for k in (1, 2, 3)}
]


def dialogsum(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    literals = "\n".join([*map(repr, TRAIN), "{'fname': ", "[1]"])  # no line feed at the end, as it is handed out
    (folder / "dialogsum.train.pyliteral.txt.gz").write_bytes(gzip.compress(literals.encode()))
    for split, rows in (("dev", DEV), ("test", TEST)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"dialogsum.{split}.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    return folder


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def test_dialogsum_from_the_folder_as_it_lies(tmp_path: Path) -> None:
    src, out = dialogsum(tmp_path / "src"), tmp_path / "out"
    prepared = prepare_dialogsum(src, out)
    assert rows(out / "train.jsonl") == [
        {
            "id": "train_0",
            "dialogue": TRAIN[0]["dialogue"],
            "keywords": ["time"],
            "topic": "time",
            "summary1": "Five.",
        }
    ]
    assert rows(out / "dev.jsonl")[0]["keywords"] == []
    test = rows(out / "test.jsonl")[0]
    assert (test["keywords"], test["summary3"]) == (["laugh 1"], "Ha 3.")

    manifest = json.loads((out / "manifest.json").read_text())
    train = manifest["splits"]["train"]
    assert (train["read"], train["written"]) == (4, 1)
    assert {reason: d["count"] for reason, d in train["dropped"].items()} == {
        "no text in `summary`": 1,
        "no Python literal": 1,
        "not an object": 1,
    }
    assert train["source_sha256"] == sha256_file(src / "dialogsum.train.pyliteral.txt.gz")
    assert train["sha256"] == sha256_file(out / "train.jsonl")
    assert "non-commercial" in manifest["licence"]
    said = str(prepared)
    assert f"{out / 'train.jsonl'}: 1 of 4 rows of dialogsum.train.pyliteral.txt.gz" in said
    assert "left out 1: no text in `summary` (first: dialogsum.train.pyliteral.txt.gz:2)" in said
    assert prepared.files["test"] == out / "test.jsonl"


def test_what_is_prepared_is_what_a_recipe_reads(tmp_path: Path) -> None:
    out = prepare("dialogsum", dialogsum(tmp_path / "src"), tmp_path / "out").out
    config = DataConfig(
        train=str(out / "train.jsonl"),
        eval=str(out / "test.jsonl"),
        references=["summary1", "summary2", "summary3"],
        domain_field="topic",
    )
    (train,), (test,) = read_examples(config), read_examples(config, "eval")
    assert (train.references, train.domain) == (("Five.",), "time")
    assert (test.references, test.target) == (("Ha 1.", "Ha 2.", "Ha 3."), "Ha 1.")
    assert train.units == ("#Person1#: It's \u2028 5.", "#Person2#: Ok.")


def persona_csv(path: Path, *conversations: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    lines = ["user 1 personas,user 2 personas,Best Generated Conversation"]
    lines += ['"I sing.\nI run.","I cook.\nI ""read"".","{}"'.format(text.replace('"', '""')) for text in conversations]
    path.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))
    return path.parent


TWO = 'Your persona:\nI cook.\nI "read".'
CASES = {
    "User 1: Hi.\nUser 2: Ho.": [("system", TWO), ("user", "Hi."), ("assistant", "Ho.")],
    "User 2: Hi.\nUser 1: Ho.": [("system", "Your persona:\nI sing.\nI run."), ("user", "Hi."), ("assistant", "Ho.")],
    "* * *\nUser 1: A\n\nUser 1: B, *really*\nUser 2: C:\n1. one\n\n2. two\nUser 1: D": [
        ("system", TWO),
        ("user", "A\nB, *really*"),
        ("assistant", "C:\n1. one\n\n2. two"),
    ],
    "* User 1: Hi. *\n* User 2: Ho. *": [("system", TWO), ("user", "Hi."), ("assistant", "Ho.")],
    "**User 1:** Hi.\n\n**User 2:** Ho.": [("system", TWO), ("user", "Hi."), ("assistant", "Ho.")],
}


def test_personachat_turns_roles_and_personas(tmp_path: Path) -> None:
    unusable = ["", "Hi!\n\nHo!", "Hi!\nUser 1: Ho!\nUser 2: Hu!", "User 1: Hi?"]
    src = persona_csv(tmp_path / "src" / "Synthetic-Persona-Chat_valid.csv.gz", *CASES, *unusable)
    persona_csv(src / "Synthetic-Persona-Chat_test.csv.gz", *CASES)
    out = tmp_path / "out"
    prepared = prepare_personachat(src, out)
    examples = list(read_examples(DataConfig(train=str(out / "valid.jsonl"))))
    assert [e.messages for e in examples] == [tuple(Message(*turn) for turn in turns) for turns in CASES.values()]

    valid = prepared.splits["valid"]
    assert {reason: dropped.count for reason, dropped in valid.dropped.items()} == {
        "no text in `Best Generated Conversation`": 1,
        "no speaker is named": 1,
        "text before the first speaker": 1,
        "nobody answers": 1,
    }
    assert valid.changed == {
        "turns of one speaker in a row joined": 1,
        "last turn left out, it is the user's and has no answer": 1,
    }
    assert not (out / "train.jsonl").exists()
    assert f"{src} holds no train split, so none was written" in prepared.notes


def test_missing_files_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    src, out = dialogsum(tmp_path / "src"), tmp_path / "out"
    (src / "dialogsum.dev.jsonl.gz").unlink()
    with pytest.raises(DataError, match=r"lacks the dev split of dialogsum; expected .*dialogsum\.dev\.jsonl or"):
        prepare("dialogsum", src, out)
    with pytest.raises(DataError, match="is no folder"):
        prepare("dialogsum", tmp_path / "absent", out)
    with pytest.raises(DataError, match="did you mean `dialogsum`"):
        prepare("dialogsums", src, out)
    assert not out.exists()


def test_a_split_that_fails_leaves_the_older_files_as_they_were(tmp_path: Path) -> None:
    src, out = dialogsum(tmp_path / "src"), tmp_path / "out"
    prepare("dialogsum", src, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    (src / "dialogsum.train.pyliteral.txt.gz").write_bytes(gzip.compress(repr(TRAIN[0] | {"fname": "new"}).encode()))
    (src / "dialogsum.test.jsonl.gz").write_bytes(gzip.compress(b'{"a": 1}\n'))
    with pytest.raises(DataError, match="none of its 1 rows can be used"):
        prepare("dialogsum", src, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_the_real_folders(shared_data: Path, tmp_path: Path) -> None:
    for name, counts in {
        "dialogsum": {"train": (12_460, 12_460), "dev": (500, 500), "test": (500, 500)},
        "personachat": {"valid": (1_000, 999), "test": (968, 966)},
    }.items():
        prepared = prepare(name, shared_data / name, tmp_path / name)
        assert {split: (a.read, a.written) for split, a in prepared.splits.items()} == counts
        for path in prepared.files.values():
            source = read_examples(DataConfig(train=str(path)))
            assert all(example.target for example in source)
            assert source.report.rows == counts[path.stem][1]
