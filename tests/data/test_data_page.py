"""The rows shown in docs/data.md are read as the page says."""

from __future__ import annotations

import re
from pathlib import Path

import orjson
import pytest
import yaml

from curricle.data.config import DataConfig
from curricle.data.formats import COLUMNS
from curricle.data.schema import Example
from curricle.data.sources import read_examples

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### `([\w-]+)`\n(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL))
ROWS = [(name, row) for name, part in SECTIONS.items() for row in re.findall(r"^```json\n(.*?)^```", part, re.M | re.S)]


def read(folder: Path, row: str, **settings: str) -> Example:
    path = folder / "rows.jsonl"
    path.write_text(row, encoding="utf-8")
    (example,) = read_examples(DataConfig(train=str(path), **settings))
    return example


def test_the_page_has_a_section_and_a_row_for_each_format_in_the_order_of_auto() -> None:
    assert list(SECTIONS) == list(COLUMNS) == list(dict(ROWS))


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_a_shown_row_is_recognised_and_every_field_of_it_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, row: str
) -> None:
    example = read(tmp_path, row)
    assert f"read as {name} " in capsys.readouterr().err
    assert example.text or example.target
    for field in COLUMNS[name]:
        assert f"`{field}`" in SECTIONS[name] or field in ("from", "value", "role", "content")


def test_the_shown_prompt_is_the_one_made_of_the_shown_record(tmp_path: Path) -> None:
    record = next(row for _, row in ROWS if "subject_keyword" in row)
    shown = re.findall(r"^```text\n(\[Conversation\].*?)\n```", PAGE, re.MULTILINE | re.DOTALL)
    assert [read(tmp_path, record, speaker_prefix="화자").messages[0].content] == shown


def test_shown_settings_are_valid() -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 5
    for block in blocks:
        DataConfig.model_validate({"train": "x.jsonl"} | yaml.safe_load(block)["data"])


def test_rows_shown_are_json_lines() -> None:
    assert all(isinstance(orjson.loads(row), dict) and row.count("\n") == 1 for _, row in ROWS)
