from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from curricle.data.config import DataConfig, Source
from curricle.data.sources import read_examples
from curricle.errors import DataError, RecipeError
from curricle.runtime.fingerprint import fingerprint


def jsonl(path: Path, rows: list[Any]) -> str:
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8"
    )
    return str(path)


def pairs(count: int, name: str = "p") -> list[dict[str, str]]:
    return [{"prompt": f"{name} {k}", "completion": str(k)} for k in range(count)]


def test_a_path_may_carry_the_number_of_rows() -> None:
    config = DataConfig(train=["a.jsonl#500", Source(path="b#3.csv", weight=2), {"path": "c.csv#7", "weight": 0.5}])
    assert config.sources("train") == [
        Source(path="a.jsonl", rows=500),
        Source(path="b#3.csv", weight=2),
        Source(path="c.csv", weight=0.5, rows=7),
    ]
    assert config.sources("eval") == []


def test_several_files_with_weights_rows_and_a_limit(tmp_path: Path) -> None:
    first, second = jsonl(tmp_path / "a.jsonl", pairs(9)), jsonl(tmp_path / "b.jsonl", pairs(9, "q"))
    config = DataConfig(train=[f"{first}#2", Source(path=second, weight=3)], limit=4)
    source = read_examples(config)
    assert [(example.prompt, example.source_index) for example in source] == [
        ("p 0", 0),
        ("p 1", 0),
        *((f"q {k}", 1) for k in range(4)),
    ]
    assert source.report.rows == 6
    assert source.report.files == {first: 2, second: 4}


def test_a_source_can_be_read_again_and_sent_to_another_process(tmp_path: Path) -> None:
    source = read_examples(DataConfig(train=jsonl(tmp_path / "a.jsonl", pairs(30))))
    first = list(source)
    assert list(source) == first
    assert source.report.rows == 30
    assert list(pickle.loads(pickle.dumps(source))) == pickle.loads(pickle.dumps(first)) == first


def test_the_format_that_was_taken_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = jsonl(tmp_path / "a.jsonl", pairs(30))
    source = read_examples(DataConfig(train=path))
    list(source), list(source)
    assert capsys.readouterr().err == f"{path}: read as prompt-completion (its rows have `prompt`)\n"


def test_files_may_have_different_formats(tmp_path: Path) -> None:
    config = DataConfig(train=[jsonl(tmp_path / "a.jsonl", pairs(1)), jsonl(tmp_path / "b.jsonl", [{"text": "x"}])])
    assert [example.kind for example in read_examples(config)] == ["plain", "text"]


BROKEN = [
    {"prompt": "a", "completion": "1"},
    "{broken",
    {"prompt": "b"},
    {"prompt": "c", "completion": " "},
    "[1]",
    "{}",
]


def test_a_broken_row_stops_with_file_line_and_field(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [*pairs(1), {"prompt": "b", "answer": "x"}])
    with pytest.raises(DataError) as caught:
        list(read_examples(DataConfig(train=path)))
    assert str(caught.value) == (
        f"{path}:2: no field `completion`: the row has `prompt`, `answer`; name its column in data.fields "
        "(data.on_bad_row: skip would leave such rows out)"
    )


def test_skipped_rows_are_counted_by_reason_with_places(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", BROKEN)
    source = read_examples(DataConfig(train=path, on_bad_row="skip", format="prompt-completion"))
    assert [example.prompt for example in source] == ["a", "c"]
    report = source.report
    assert {reason: (s.count, s.places) for reason, s in report.skipped.items()} == {
        "not JSON": (1, [f"{path}:2"]),
        "no field `completion`": (1, [f"{path}:3"]),
        "not an object": (1, [f"{path}:5"]),
        "no field `prompt`": (1, [f"{path}:6"]),
    }
    assert (report.rows, report.num_skipped) == (2, 4)
    assert (report.empty_targets.count, report.empty_targets.places) == (1, [f"{path}:4"])
    assert report.columns == {"prompt": 2, "completion": 2}
    assert f"skipped 1 row: not JSON (first: {path}:2)" in str(report)


def test_a_file_without_a_usable_row_is_an_error(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", ["{}", "[1]"])
    with pytest.raises(DataError, match=r"holds no usable row \(2 looked at, 2 skipped\)"):
        list(read_examples(DataConfig(train=path, on_bad_row="skip", format="text")))
    with pytest.raises(DataError, match=r"a\.jsonl:1: no format fits"):
        list(read_examples(DataConfig(train=path, on_bad_row="skip")))
    (tmp_path / "blank.jsonl").write_text("\n\n")
    for format in ("auto", "text"):
        with pytest.raises(DataError, match="holds no"):
            list(read_examples(DataConfig(train=str(tmp_path / "blank.jsonl"), format=format)))


def test_fewer_rows_than_asked_are_noted(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", pairs(3))
    asked = read_examples(DataConfig(train=f"{path}#5"))
    list(asked)
    assert asked.report.notes == [f"{path}: 5 rows were asked for, 3 are there"]


def test_missing_files_are_refused_before_any_row_is_read(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", pairs(3))
    with pytest.raises(DataError, match="no such data file"):
        read_examples(DataConfig(train=[path, str(tmp_path / "b.jsonl")]))
    with pytest.raises(RecipeError, match=r"data\.eval names no file"):
        read_examples(DataConfig(train=path), "eval")


def test_eval_rows_may_lack_a_target(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"prompt": "a"}])
    config = DataConfig(train=path, eval=path)
    assert [example.target for example in read_examples(config, "eval")] == [None]
    with pytest.raises(DataError, match="no field `completion`"):
        list(read_examples(config))


def test_the_fingerprint_follows_files_and_reading_settings(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", pairs(3))

    def of(**settings: Any) -> str:
        return read_examples(DataConfig(**{"train": path} | settings)).fingerprint

    base = of()
    assert of() == base
    assert of(max_length=64, packing="none", eval=path) == base
    moved = tmp_path / "other.jsonl"
    moved.write_bytes(Path(path).read_bytes())
    assert of(train=str(moved)) == base
    assert of(limit=2) == of(train=f"{path}#2")
    changed = [of(question="?"), of(limit=2), of(on_bad_row="skip"), of(train=[path, path])]
    changed += [of(prompt="plain"), of(keywords="first")]
    jsonl(tmp_path / "a.jsonl", pairs(4))
    assert len({base, of(), *changed}) == 8
    assert read_examples(DataConfig(train=path)).files[0].bytes == Path(path).stat().st_size


def test_the_settings_of_a_dialogue_reach_the_prompt(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"dialogue": "#1#: Hi.", "keywords": ["a", "b"], "summary": "s", "topic": "t"}])
    config = DataConfig(
        train=path, question="On {keywords}?", speaker_prefix="화자", system_prompt="Be brief.", domain_field="topic"
    )
    (example,) = read_examples(config)
    assert [m.content for m in example.messages] == [
        "Be brief.",
        "[Conversation]\n화자#1#: Hi.\n\n[Question]\nOn a, b?",
        "s",
    ]
    assert example.domain == "t"
    (plain,) = read_examples(config.model_copy(update={"prompt": "plain", "keywords": "first"}))
    assert plain.messages[1].content == "화자#1#: Hi.\n\nOn a?"


def test_rows_chosen_through_an_index(tmp_path: Path) -> None:
    """Filters, shares and caps before anything is read; lines and ids are those of the whole file."""
    rows = [{"prompt": f"p {k}", "completion": str(k), "right": k % 4 == 0, "problem": f"q{k // 8}"} for k in range(80)]
    path = jsonl(tmp_path / "a.jsonl", ["", *rows])
    asked = {"path": path, "select": {"rows": 16, "shares": {"right": {True: 0.5, False: 0.5}}, "cap": {"problem": 2}}}
    source = read_examples(DataConfig.model_validate({"train": asked}))
    examples = list(source)
    numbers = [int(example.completion or "") for example in examples]
    assert sum(k % 4 == 0 for k in numbers) == 8
    assert max(numbers.count(k) for k in numbers) == 1
    assert max([k // 8 for k in numbers].count(q) for q in range(10)) == 2
    assert [example.where.line for example in examples] == [k + 2 for k in numbers] == sorted(k + 2 for k in numbers)
    whole = {example.id for example in read_examples(DataConfig(train=path))}
    assert {example.id for example in examples} < whole
    assert list(source) == examples

    config = DataConfig.model_validate({"train": {**asked, "rows": 3}})
    assert [example.id for example in read_examples(config)] == [example.id for example in examples[:3]]
    other = {**asked, "select": {**asked["select"], "seed": 1}}  # type: ignore[dict-item]
    again = read_examples(DataConfig.model_validate({"train": other}))
    assert again.fingerprint != source.fingerprint
    assert list(again) != examples


def test_what_a_selection_lacks_is_in_the_report(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", pairs(5))
    config = DataConfig.model_validate({"train": {"path": path, "select": {"rows": 9}}})
    source = read_examples(config)
    assert len(list(source)) == 5
    assert source.report.remarks() == [f"{path}: rows: 9 asked for, 5 taken of 5 there"]


def test_a_selection_needs_rows_by_number(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("prompt,completion\na,b\n", encoding="utf-8")
    config = DataConfig.model_validate({"train": {"path": str(path), "select": {"rows": 1}}})
    with pytest.raises(DataError, match=r"need a \.jsonl or \.parquet file"):
        read_examples(config)


def test_rows_between_two_places_are_parts_of_a_file_whatever_its_order(tmp_path):
    rows = [{"text": f"row {n}"} for n in range(200)]
    files = {}
    for name, ordered in {"one": rows, "other": rows[::-1] + rows[:3]}.items():
        files[name] = tmp_path / f"{name}.jsonl"
        files[name].write_text("".join(json.dumps(row) + "\n" for row in ordered), encoding="utf-8")

    def texts(name, *between):
        config = DataConfig(train=Source(path=str(files[name]), between=between), format="text")
        return {example.text for example in read_examples(config)}

    parts = [texts("one", *between) for between in ((0, 0.5), (0.5, 0.8), (0.8, 1))]
    assert parts == [texts("other", *between) for between in ((0, 0.5), (0.5, 0.8), (0.8, 1))]
    assert set.union(*parts) == {row["text"] for row in rows}
    assert sum(len(part) for part in parts) == 200
    assert 80 < len(parts[0]) < 120


def test_a_part_without_rows_is_an_error(tmp_path):
    file = tmp_path / "one.jsonl"
    file.write_text('{"text": "alone"}\n', encoding="utf-8")
    found = [DataConfig(train=Source(path=str(file), between=each), format="text") for each in ((0, 0.5), (0.5, 1))]
    place = int(fingerprint({"text": "alone"})[:12], 16) / 16**12
    here, elsewhere = found if place < 0.5 else reversed(found)
    assert len(list(read_examples(here))) == 1
    with pytest.raises(DataError, match="no usable row between"):
        list(read_examples(elsewhere))


def test_a_source_names_the_domain_of_its_rows(tmp_path):
    file = tmp_path / "one.jsonl"
    file.write_text('{"text": "a", "kind": "own"}\n', encoding="utf-8")
    config = DataConfig(train=[Source(path=str(file), domain="web"), str(file)], format="text", domain_field="kind")
    assert [example.domain for example in read_examples(config)] == ["web", "own"]
