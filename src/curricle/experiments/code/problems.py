"""Which problems a task is: a file of problems, or a public set as it is prepared here or handed out there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ...data.prepare.humaneval import HUMANEVAL
from ...data.prepare.mbpp import MBPP, MBPP_SANITIZED
from ...data.prepare.tasks import CodeDataset, CodeOptions, SplitAccount
from ...data.problems import Problem, read_problems
from ...data.readers import BadRow, read_rows
from ...errors import DataError, RecipeError, nearest
from ...runtime.files import sha256_file
from ..toys.sources import PREFIX, place_problems

TASKS: dict[str, CodeDataset] = {dataset.name: dataset for dataset in (HUMANEVAL, MBPP, MBPP_SANITIZED)}
SPLIT = "test"
_ONLY_PUBLISHED = {"canonical_solution": "humaneval", "test_list": "mbpp"}
"""Fields by which a file is known as one of the sets as published."""
PREPARED = f"{SPLIT}_problems.jsonl"


@dataclass(frozen=True)
class Problems:
    """The problems of a task, by name, in their order."""

    name: str
    by_id: dict[str, Problem]
    path: str
    sha256: str

    def __len__(self) -> int:
        return len(self.by_id)

    def known_as(self, task_id: object) -> Problem | None:
        """The problem that somebody else means: by its name, or by the number in it (`2` or `Mbpp/2` for `MBPP/2`)."""
        own = self.by_id.get(str(task_id))
        if own is not None:
            return own
        series, _, number = str(task_id).rpartition("/")
        if self._series is None or not number.isdigit() or series.lower() not in ("", self._series.lower()):
            return None
        return self.by_id.get(f"{self._series}/{number}")

    @cached_property
    def _series(self) -> str | None:
        """What stands before the slash, where it is the same for all."""
        series = {name.rpartition("/")[0] for name in self.by_id}
        return series.pop() if len(series) == 1 else None


def find_problems(task: str | Path, data: str | Path | None = None) -> Problems:
    """`task` is a file of problems (ours, or a public set as published), or `toy:contest-problems#110`, or a public set
    whose files lie in `data`: prepared, or as published."""
    if str(task).startswith(PREFIX):
        return _of_file(str(task), place_problems(str(task)))
    path = Path(task)
    if path.is_file():
        if data is not None:
            raise RecipeError(f"--task {task} is a file of problems already; --data goes with {', '.join(TASKS)}")
        dataset = _published_as(path)
        return _published(dataset, path) if dataset is not None else _of_file(str(task), path)
    if str(task) not in TASKS:
        raise RecipeError(f"--task {task} is no file and no known set; {nearest(str(task), TASKS)}, or name a file")
    if data is None:
        raise RecipeError(f"--task {task}: name the folder with its files as --data")
    dataset, folder = TASKS[str(task)], Path(data)
    if (folder / PREPARED).is_file():
        return _of_file(dataset.name, folder / PREPARED)
    if folder.name.endswith(PREPARED):
        return _of_file(dataset.name, folder)
    return _published(dataset, folder)


def _published_as(path: Path) -> CodeDataset | None:
    """The public set that a file is, by the fields of its first row; None for problems as they are written here."""
    row = next((row.value for row in read_rows(path)), None)
    if not isinstance(row, dict):
        return None
    found = next((name for field, name in _ONLY_PUBLISHED.items() if field in row), None)
    return TASKS[f"{found}-sanitized" if found == "mbpp" and "prompt" in row else found] if found else None


def _of_file(name: str, path: Path) -> Problems:
    found = {problem.task_id: problem for problem in read_problems(path)}
    return Problems(name, found, str(path), sha256_file(path))


def _published(dataset: CodeDataset, folder: Path) -> Problems:
    files = dataset.find(folder)
    found: dict[str, Problem] = {}
    for where, task in dataset.open(files, CodeOptions())(SPLIT, SplitAccount()):
        if isinstance(task, BadRow):
            raise DataError(f"{where}: {task}")
        if task.problem is not None and found.setdefault(task.problem.task_id, task.problem) is not task.problem:
            raise DataError(f"{where}: `{task.problem.task_id}` is there twice")
    [path] = files[SPLIT]
    if not found:
        raise DataError(f"{path} holds no problem of the {SPLIT} split of {dataset.name}")
    return Problems(dataset.name, found, str(path), sha256_file(path))
