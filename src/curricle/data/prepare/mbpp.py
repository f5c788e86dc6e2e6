"""MBPP (Austin et al., 2021, arXiv 2108.07732): small problems, each with a program and three asserts.

Splits by number, as its authors give them: 1-10 for prompts, 11-510 test, 511-600 validation, 601-974 train. The
sanitized release holds 427 of them with the wording and the asserts mended.
"""

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

_SPLITS = {"test": range(11, 511), "prompt": range(1, 11), "valid": range(511, 601), "train": range(601, 975)}
_WHOLE = ("mbpp.jsonl", "mbpp.jsonl.gz")
_SANITIZED = ("sanitized-mbpp.json", "sanitized-mbpp.json.gz")


def _open(files: Files, options: CodeOptions) -> ReadSplit:
    def read(split: str, account: SplitAccount) -> Iterator[tuple[Where, Task | BadRow]]:
        [path] = files[split]
        for row in read_rows(path):
            where = Where(path.name, row.line)
            if isinstance(row.value, BadRow):
                if split == "test":  # said once, though every split reads the file
                    yield where, row.value
                continue
            number = row.value.get("task_id")
            known = isinstance(number, int) and any(number in numbers for numbers in _SPLITS.values())
            if number in _SPLITS[split] if known else split == "test":
                try:
                    yield where, _task(row.value, known, account)
                except BadRow as bad:
                    yield where, bad

    return read


def _task(row: dict[str, Any], known: bool, account: SplitAccount) -> Task:
    if not known:
        raise BadRow("`task_id` is no number from 1 to 974")
    asserts = row.get("test_list")
    if not isinstance(asserts, list) or not asserts or not all(isinstance(one, str) for one in asserts):
        raise BadRow("no asserts in `test_list`")
    text = text_of(row, "text" if "text" in row else "prompt").strip()
    program = one_or_other_line_end(text_of(row, "code"), account)
    account.programs += 1
    before = [*row.get("test_imports", []), row.get("test_setup_code", "").replace("\r\n", "\n")]
    name = f"MBPP/{row['task_id']}"
    problem = Problem(
        task_id=name,
        prompt=f"{text} Your code should pass these tests:\n\n" + "\n".join(asserts) + "\n",
        tests=Asserts("\n".join([*(line for line in before if line), *asserts]) + "\n"),
        reference=program,
        metadata={"harder_tests": row["challenge_test_list"]} if row.get("challenge_test_list") else {},
    )
    metadata = {"source": "mbpp", "difficulty": 0, "has_tests": True}
    return Task(name, text, "\n".join(asserts[:2]), metadata, [Solution(0, program, True)], problem)


def _dataset(name: str, names: tuple[str, ...], what: str) -> CodeDataset:
    def find(src: Path) -> Files:
        folder_files = [src / one for one in names]
        path = src if src.is_file() else next((one for one in folder_files if one.is_file()), None)
        if path is None:
            raise DataError(f"{src} holds no {what}; prepare {name} reads {' or '.join(names)}")
        return {split: [path] for split in _SPLITS}

    return CodeDataset(
        name=name,
        licence="CC BY 4.0",
        find=find,
        open=_open,
        notes=(
            "`difficulty` is 0, unknown, everywhere. Rows show two asserts, problems all of them, as in the paper.",
            "Programs are the published references; whether each passes its own asserts is found by running it.",
        ),
    )


MBPP = _dataset("mbpp", _WHOLE, "file of MBPP")
MBPP_SANITIZED = _dataset("mbpp-sanitized", _SANITIZED, "file of sanitized MBPP")
