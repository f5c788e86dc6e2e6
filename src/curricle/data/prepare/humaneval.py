"""HumanEval (Chen et al., 2021, arXiv 2107.03374): 164 signatures with a docstring, a body and a `check`; test only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import DataError
from ..problems import Asserts, Problem
from ..readers import BadRow, read_rows
from ..schema import Where
from .tasks import CodeDataset, CodeOptions, Files, ReadSplit, Solution, SplitAccount, Task, one_or_other_line_end
from .writing import text_of

_NAMES = ("HumanEval.jsonl", "HumanEval.jsonl.gz")


def _find(src: Path) -> Files:
    path = src if src.is_file() else next((src / one for one in _NAMES if (src / one).is_file()), None)
    if path is None:
        raise DataError(f"{src} holds no file of HumanEval; prepare humaneval reads {' or '.join(_NAMES)}")
    return {"test": [path]}


def _open(files: Files, options: CodeOptions) -> ReadSplit:
    def read(split: str, account: SplitAccount) -> Iterator[tuple[Where, Task | BadRow]]:
        [path] = files[split]
        for row in read_rows(path):
            where = Where(path.name, row.line)
            try:
                if isinstance(row.value, BadRow):
                    raise row.value
                yield where, _task(row.value, account)
            except BadRow as bad:
                yield where, bad

    return read


def _task(row: dict[str, Any], account: SplitAccount) -> Task:
    name, prompt, function = (text_of(row, field) for field in ("task_id", "prompt", "entry_point"))
    body = one_or_other_line_end(text_of(row, "canonical_solution"), account)
    account.programs += 1
    problem = Problem(name, prompt, Asserts(text_of(row, "test")), body, entry_point=function, prefix=prompt)
    metadata = {"source": "humaneval", "difficulty": 0, "has_tests": True}
    return Task(name, prompt, "", metadata, [Solution(0, body, True)], problem)


HUMANEVAL = CodeDataset(
    name="humaneval",
    licence="MIT",
    find=_find,
    open=_open,
    notes=("`difficulty` is 0, unknown, everywhere. All of it is for testing; nothing here is to be trained on.",),
)
