"""A first recipe for somebody's file: complete, true, and never over another file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from curricle.data.config import DataConfig
from curricle.errors import DataError, RecipeError
from curricle.experiments.document import parse
from curricle.experiments.init import init, look, suggested_length
from curricle.experiments.resolve import resolve
from curricle.experiments.toys.sources import toy_rows


def rows_to(path: Path, rows: list[Any]) -> Path:
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


CHAT = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}] * 2}
FORMATS: dict[str, dict[str, Any]] = {
    "dialogue": toy_rows("dialogue", 1)[0],
    "messages": CHAT,
    "sharegpt": {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
    "prompt-completion": {"prompt": "a", "completion": "b"},
    "alpaca": {"instruction": "a", "input": "", "output": "b"},
    "text": {"text": "Once upon a time."},
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format(name: str, tmp_path: Path) -> None:
    path = rows_to(tmp_path / "my train.jsonl", [FORMATS[name]] * 5)
    text = init(path)
    experiment = resolve(parse(text, "r.yaml")[0])
    assert experiment.name == "my-train"
    assert experiment.base.data.format == name
    assert experiment.base.data.train == str(path)
    assert "5 examples" in text
    assert ("learn: every_turn" in text) == (name == "messages")


def test_what_lies_beside_it(tmp_path: Path) -> None:
    several = {"dialogue": "A: hello", "summary1": "x", "summary2": "y", "summary10": "z", "other": 1}
    path = rows_to(tmp_path / "train.jsonl", [several] * 3)
    rows_to(tmp_path / "dev.jsonl", [several])
    base = resolve(parse(init(path), "r.yaml")[0]).base
    assert base.data.references == ["summary1", "summary2", "summary10"]
    assert base.data.eval == str(tmp_path / "dev.jsonl")
    assert base.selection.metric == "loss"
    assert [measured.metric for measured in base.evaluation] == ["loss"]


def test_the_folder_names_what_the_file_does_not(tmp_path: Path) -> None:
    folder = tmp_path / "summaries"
    folder.mkdir()
    for name, called in (("train.jsonl", "summaries"), ("mine.jsonl", "mine")):
        assert resolve(parse(init(rows_to(folder / name, [CHAT])), "r.yaml")[0]).name == called


def test_a_dialogue_is_asked_about_in_its_language(tmp_path: Path) -> None:
    english, korean = ({"dialogue": f"#Person1#: {said}", "summary": "x"} for said in ("hello", "안녕"))
    asked = [
        resolve(parse(init(rows_to(tmp_path / name, [row])), "r.yaml")[0]).base.data.question
        for name, row in (("a.jsonl", english), ("b.jsonl", korean))
    ]
    assert asked == ["Summarize the dialogue above, which is about {keywords}.", DataConfig(train="-").question]


def test_broken_rows_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(orjson.dumps(CHAT) + b"\nbroken\n" + orjson.dumps(CHAT) + b"\n")
    text = init(path)
    assert f"left out: 1 row: not JSON (first: {path}:2)" in text
    assert resolve(parse(text, "r.yaml")[0]).base.data.on_bad_row == "skip"


def test_a_file_of_which_nothing_can_be_used(tmp_path: Path) -> None:
    path = rows_to(tmp_path / "a.jsonl", [{"dialogue": "A: hello"}] * 2)
    with pytest.raises(DataError, match=r"a\.jsonl:1: no field `summary`"):
        init(path)
    with pytest.raises(DataError, match="no such data file"):
        init(tmp_path / "none.jsonl")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path, recipe = rows_to(tmp_path / "a.jsonl", [CHAT]), tmp_path / "recipe.yaml"
    text = init(path, recipe)
    assert recipe.read_text(encoding="utf-8") == text
    recipe.write_text("mine", encoding="utf-8")
    with pytest.raises(RecipeError, match="exists already"):
        init(path, recipe)
    assert recipe.read_text(encoding="utf-8") == "mine"


def test_lengths(tmp_path: Path) -> None:
    path = rows_to(tmp_path / "a.jsonl", [{"text": "x" * 3 * n} for n in (10, 100, 1000)])
    assert look(path).tokens == [11, 101, 1001]
    assert suggested_length([11, 101, 1001]) == 1024
    assert suggested_length([5]) == 256
    assert suggested_length([100_000]) == 8192
    assert suggested_length([10] * 995 + [4000] * 5) == 256, "one in two hundred is no reason for long rows"


def test_real_dialogues(shared_data: Path) -> None:
    found = look(shared_data / "dialogsum" / "dialogsum.test.jsonl.gz")
    assert (found.rows, found.format, found.whole) == (500, "dialogue", True)
    assert found.references == ["summary1", "summary2", "summary3"]
