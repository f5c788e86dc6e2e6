"""The text of a few examples, found again by their ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...data.config import DataConfig
from ...data.schema import Example
from ...errors import CurricleError, DataError
from ...runtime.files import sha256_file
from .read import Table

Text = list[tuple[str, str]]
"""Who says what."""

LONGEST = 4000
"""Letters of one message that are kept."""


def find_texts(
    table: Table, wanted: Sequence[str], data: str | Path | None, recipe: str | Path | None, overrides: Sequence[str]
) -> tuple[dict[str, Text], str]:
    """By id; and where they come from, or why there are none."""
    if data is not None or recipe is not None:
        found = _read(_asked(data, recipe, overrides), wanted)
        where = str(data or recipe)
        if not found:
            raise DataError(
                f"{where} belongs to other data: it has none of the {len(wanted)} examples to show, such as "
                f"`{wanted[0]}`; name the rows that were labelled"
            )
        return found, _said(found, wanted, where)
    if table.by_row:
        return {}, "no text: these labels are keyed by row number, so that no row can be told from another"
    sources, reading, why = _own_files(table)
    if not sources:
        return {}, f"no text: {why}; --data or --recipe names the rows"
    try:
        found = _read(DataConfig.model_validate({**reading, "train": sources, "on_bad_row": "skip"}), wanted)
    except CurricleError as error:
        return {}, f"no text: {error}; --recipe says how the rows are read"
    if not found:
        return {}, f"no text: the rows of {', '.join(sources)} have other ids; --recipe says how they are read"
    return found, _said(found, wanted, ", ".join(sources))


def _said(found: dict[str, Text], wanted: Sequence[str], where: str) -> str:
    missing = len(wanted) - len(found)
    return f"text from {where}" + (f", which lacks {missing} of these {len(wanted)} rows" if missing else "")


def _asked(data: str | Path | None, recipe: str | Path | None, overrides: Sequence[str]) -> DataConfig:
    if recipe is None:
        from ..evaluate import data_settings

        return data_settings(data, None, overrides)
    from ..resolve import resolve
    from ..toys.sources import place_sources

    rows = resolve(recipe, overrides).base.data
    return place_sources(rows if data is None else rows.model_copy(update={"train": str(data)}))


def _own_files(table: Table) -> tuple[list[str], dict[str, Any], str]:
    """The files that the labels were made from, if they are still what they were, and how they were read; or why
    there are none."""
    why = "the label file does not say which rows it is about"
    for _, labels in table.files:
        files = labels.about.get("data")
        if not isinstance(files, list) or not files:
            continue
        paths = [str(file.get("path", "")) for file in files]
        gone = [path for path in paths if not Path(path).is_file()]
        if gone:
            why = f"{gone[0]}, which was labelled, is not there any more"
            continue
        other = [path for path, file in zip(paths, files, strict=True) if sha256_file(path) != file.get("sha256")]
        if not other:
            return paths, labels.about.get("reading") or {}, ""
        why = f"{other[0]} has changed since it was labelled"
    return [], {}, why


def _read(rows: DataConfig, wanted: Sequence[str]) -> dict[str, Text]:
    """Rows are read until all are found."""
    from ...data.sources import read_examples

    left, found = set(wanted), {}
    for example in read_examples(rows, "train"):
        if example.id in left:
            left.remove(example.id)
            found[example.id] = _text(example)
            if not left:
                break
    return found


def _text(example: Example) -> Text:
    if example.kind == "text":
        parts = [("text", example.text)]
    elif example.kind == "plain":
        parts = [("prompt", example.prompt), ("completion", example.completion)]
    else:
        parts = [(message.role, message.content) for message in example.messages]
    return [(who, _cut(said)) for who, said in parts if said is not None]


def _cut(said: str) -> str:
    return said if len(said) <= LONGEST else f"{said[:LONGEST]}… ({len(said) - LONGEST:,} more letters)"
