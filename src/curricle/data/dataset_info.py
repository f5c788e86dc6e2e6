"""LLaMA-Factory's `dataset_info.json`: a name stands for a file, a format, its columns and its role tags.

Entries that point to a hub, a script or a bucket, or that hold preferences, pictures or tools, are refused: nothing is
fetched, and nothing of a row is passed over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from ..errors import DataError, nearest

# Their column -> our field, by formatting. As there, a column that an entry leaves out is absent, but for the ones that
# have a default name: those without which there is no row, and all of them when the entry names no column.
_COLUMNS: dict[str, dict[str, str]] = {
    "alpaca": {
        "prompt": "instruction",
        "query": "input",
        "response": "output",
        "system": "system",
        "history": "history",
    },
    "sharegpt": {"messages": "conversations", "system": "system"},
}
# Their tag -> its default and the role it stands for.
_ROLE_TAGS = {
    "user_tag": ("human", "user"),
    "assistant_tag": ("gpt", "assistant"),
    "observation_tag": ("observation", "tool"),
    "function_tag": ("function_call", "assistant"),
    "system_tag": ("system", "system"),
}
# Their tag -> our name, its default, its default for formatting openai.
_KEY_TAGS = {"role_tag": ("role", "from", "role"), "content_tag": ("content", "value", "content")}
_ELSEWHERE = ("hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name")
_NOT_READ = ("tools", "images", "videos", "audios", "chosen", "rejected", "kto_tag", "backtrack_content")
_DEFAULTS = {"prompt", "messages"}
_DEFAULTS_WITHOUT_COLUMNS = {"prompt", "query", "response", "messages"}
_ABSENT = "(no such column)"


@dataclass(frozen=True)
class Entry:
    """One name of the file, in our terms."""

    path: Path
    format: str
    fields: dict[str, str] = field(default_factory=dict)
    roles: dict[str, str] = field(default_factory=dict)
    rows: int | None = None
    """Its `num_samples`: the first so many rows are taken."""


def load_entries(path: str | Path) -> dict[str, dict[str, Any]]:
    """The names in a `dataset_info.json`, unread; `read_entry` reads the one that is used."""
    try:
        entries = orjson.loads(Path(path).read_bytes())
    except OSError as error:
        raise DataError(f"data.dataset_info: cannot read {path}: {error.strerror}") from error
    except orjson.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: not JSON: {error.msg}") from error
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise DataError(f"{path}: expected an object of named entries, as LLaMA-Factory's dataset_info.json")
    return entries


def read_entry(info: str | Path, name: str, entries: dict[str, dict[str, Any]]) -> Entry:
    """One entry; its file is looked for beside the `dataset_info.json`."""
    if name not in entries:
        raise DataError(f"no file and no entry of {info} is called `{name}`; {nearest(name, entries)}")
    entry, place = entries[name], f"{info}: `{name}`"
    _refuse(entry, place)
    formatting = entry.get("formatting", "alpaca")
    if formatting not in ("alpaca", "sharegpt", "openai"):
        raise DataError(f"{place}: formatting `{formatting}` is not read; allowed: alpaca, sharegpt, openai")
    columns = entry.get("columns", {})
    path, rows = Path(info).parent / entry["file_name"], entry.get("num_samples")
    if formatting == "alpaca":
        if set(columns) == {"prompt"}:  # their way of saying raw text for pre-training
            return Entry(path, "text", {"text": columns["prompt"]}, rows=rows)
        return Entry(path, "alpaca", _fields("alpaca", columns), rows=rows)
    tags = entry.get("tags", {})
    fields = _fields("sharegpt", columns)
    for theirs, (ours, plain, openai) in _KEY_TAGS.items():
        fields[ours] = tags.get(theirs) or (openai if formatting == "openai" else plain)
    if formatting == "openai" and "messages" not in columns:
        fields["conversations"] = "messages"
    roles = {tags.get(theirs) or default: role for theirs, (default, role) in _ROLE_TAGS.items()}
    return Entry(path, "sharegpt", fields, roles, rows)


def _fields(formatting: str, columns: dict[str, str]) -> dict[str, str]:
    by_default = _DEFAULTS_WITHOUT_COLUMNS if not columns else _DEFAULTS
    return {
        ours: columns.get(theirs) or (ours if theirs in by_default else _ABSENT)
        for theirs, ours in _COLUMNS[formatting].items()
    }


def _refuse(entry: dict[str, Any], place: str) -> None:
    for key in _ELSEWHERE:
        if key in entry:
            raise DataError(f"{place} has {key}: nothing is fetched; download the file and give it as file_name")
    if entry.get("ranking"):
        raise DataError(f"{place} is a ranking of answers; only single answers are trained on")
    for key in _NOT_READ:
        if entry.get("columns", {}).get(key):
            raise DataError(f"{place} has the column `{key}`, which is not read; make an entry without it if you can")
    if not isinstance(entry.get("file_name"), str):
        raise DataError(f"{place} has no file_name; it should name a file beside {place.split(':')[0]}")
