"""DialogSum (Chen et al., 2021, arXiv 2105.06762): dialogues with a summary and a topic, three of each in the test set.

A row becomes {id, dialogue, keywords: [topic], topic, summary1, ...}, which format `dialogue` reads. The test split
keeps its three summaries; its prompt names the first topic, the one that goes with the first summary.
"""

from __future__ import annotations

import ast
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..readers import BadRow, Row, read_rows
from .writing import Account, Dataset, Prepared, text_of, write_splits


def prepare_dialogsum(src: str | Path, out: str | Path) -> Prepared:
    """Write train, dev and test of the DialogSum folder `src` into `out`."""
    return write_splits(DIALOGSUM, Path(src), Path(out))


def _convert(row: dict[str, Any], account: Account) -> dict[str, Any]:
    numbered = "summary1" in row
    topic = row.get("topic1" if numbered else "topic")
    converted = {
        "id": text_of(row, "fname"),
        "dialogue": text_of(row, "dialogue"),
        "keywords": [topic] if isinstance(topic, str) and topic.strip() else [],
        "topic": topic,
    }
    if not numbered:
        return converted | {"summary1": text_of(row, "summary")}
    return converted | {name: text_of(row, name) for name in row if name.startswith("summary")}


def _read(path: Path) -> Iterator[Row]:
    """JSON Lines, or, in the first release, a Python literal a line; the text splits on line feeds alone."""
    return _literals(path) if ".pyliteral." in path.name else read_rows(path)


def _literals(path: Path) -> Iterator[Row]:
    with gzip.open(path, "rb") as handle:
        for number, line in enumerate(handle, start=1):
            try:
                value = ast.literal_eval(line.decode("utf-8").strip())
            except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
                yield Row(number, BadRow("no Python literal", str(error)))
                continue
            yield Row(number, value if isinstance(value, dict) else BadRow("not an object"))


DIALOGSUM = Dataset(
    name="dialogsum",
    licence="CC BY-NC-SA 4.0 (non-commercial, share alike)",
    splits={
        "train": ("dialogsum.train.jsonl", "dialogsum.train.jsonl.gz", "dialogsum.train.pyliteral.txt.gz"),
        "dev": ("dialogsum.dev.jsonl", "dialogsum.dev.jsonl.gz"),
        "test": ("dialogsum.test.jsonl", "dialogsum.test.jsonl.gz"),
    },
    optional=frozenset(),
    convert=_convert,
    read=_read,
)
