"""Problems and their programs to the files of a data set, in constant memory.

train.jsonl              one row a program                   train_small.jsonl   a few of them, over many problems
train_metadata.json      label and difficulty of each row    train_python2.jsonl programs kept apart, if asked
train_problems.jsonl     one row a problem that can be run   stats/train.json    what is in there
schema.json  manifest.json (SHA256 of every file)  card.md   for the whole
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from statistics import median
from typing import IO, Any

import orjson

from ...runtime.files import atomic_file
from ...runtime.progress import track
from ..code_rows import MetadataWriter, metadata_path
from ..problems import problem_line
from ..readers import BadRow
from ..schema import Where
from .lengths import TemplatedLength
from .tasks import CodeOptions, ReadSplit, Solution, SplitAccount, Task

SMALL = {"train": ("train_small", 100), "valid": ("validation_small", 32)}
"""Small sets: split -> file name and the most rows in it."""


class Seen:
    """Problems of all splits, so that none is in two. The text decides: sites may share a name, and contests a text."""

    def __init__(self) -> None:
        self._texts: dict[bytes, str] = {}
        self._names: dict[str, bytes] = {}

    def place(self, task: Task, split: str) -> tuple[Task, str | None]:
        """The task under a name of its own, and the split that has its text already, if one has.

        `BadRow` for a problem that comes twice in one split.
        """
        text = digest(" ".join(task.instruction.split()).lower())
        first = self._texts.setdefault(text, split)
        if first == split and self._names.get(task.name) == text:
            raise BadRow("the same problem again")
        name, copies = task.name, 1
        while self._names.setdefault(name, text) != text:
            copies += 1
            name = f"{task.name}~{copies}"
        if copies > 1:
            task = replace(task, name=name, problem=task.problem and replace(task.problem, task_id=name))
        return task, None if first == split else first


def digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class Small:
    """At most `limit` rows, half of them wrong where there are such, one of each label a problem, chosen by a hash."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._heaps: dict[bool, list[tuple[int, int, bytes]]] = {True: [], False: []}
        self._count = 0

    def offer(self, rows: list[tuple[dict[str, Any], bytes]]) -> None:
        """The rows of one problem."""
        for label, heap in self._heaps.items():
            of_label = [
                (-int.from_bytes(digest(row["task_id"])), line) for row, line in rows if row["is_correct"] == label
            ]
            if of_label:
                key, line = max(of_label)
                self._count += 1
                push = heapq.heappush if len(heap) < self.limit else heapq.heappushpop
                push(heap, (key, self._count, line))

    def lines(self) -> list[bytes]:
        """The rows, in the order in which they came."""
        right, wrong = (sorted(self._heaps[label], reverse=True) for label in (True, False))
        num_wrong = min(len(wrong), max(self.limit // 2, self.limit - len(right)))
        chosen = right[: self.limit - num_wrong] + wrong[:num_wrong]
        return [line for _, _, line in sorted(chosen, key=lambda one: one[1])]


class Stats:
    """What a split holds, for `stats/`."""

    def __init__(self) -> None:
        self._by: dict[str, Counter[str]] = {name: Counter() for name in ("site", "language", "published_difficulty")}
        self._per_problem: list[int] = []
        self._tokens: Counter[int] = Counter()
        self.characters = self.longest = 0

    def add(self, rows: list[dict[str, Any]], lengths: list[int]) -> None:
        self._per_problem.append(len(rows))
        for row in rows:
            for name, counts in self._by.items():
                if name in row["metadata"]:
                    counts[str(row["metadata"][name])] += 1
            size = sum(len(row[name]) for name in ("instruction", "input", "output"))
            self.characters, self.longest = self.characters + size, max(self.longest, size)
        self._tokens.update(lengths)

    def as_dict(self, labels: dict[str, Any]) -> dict[str, Any]:
        kept = [count for count in self._per_problem if count]
        found = labels | {
            "problems_with_rows": len(kept),
            "rows_per_problem": {"median": median(kept), "most": max(kept)} if kept else {},
            "characters": {"mean": round(self.characters / max(labels["total"], 1), 1), "longest": self.longest},
        }
        found |= {name: dict(counts.most_common()) for name, counts in self._by.items() if counts}
        if self._tokens:
            total = sum(self._tokens.values())
            mean = sum(length * count for length, count in self._tokens.items()) / total
            found["tokens"] = {"mean": round(mean, 1), "longest": max(self._tokens)}
        return found


class SplitWriter:
    """The files of one split, which take their names when all of it is written."""

    def __init__(self, out: Path, split: str, options: CodeOptions, account: SplitAccount, files: ExitStack) -> None:
        def opened(name: str) -> IO[bytes]:
            path = out / name
            self.paths.append(path)
            return files.enter_context(atomic_file(path, "wb"))

        self.paths: list[Path] = []
        self.options, self.account, self.stats = options, account, Stats()
        self.length = TemplatedLength(options.tokenizer, options.chat_template) if options.tokenizer else None
        self._rows, self._problems = opened(f"{split}.jsonl"), opened(f"{split}_problems.jsonl")
        self.metadata = MetadataWriter(opened(metadata_path(out / f"{split}.jsonl").name))
        self._apart = opened(f"{split}_python2.jsonl") if options.python2 == "apart" else None
        name, limit = SMALL.get(split, ("", 0))
        self._small, self._small_file = Small(limit), opened(f"{name}.jsonl") if limit else None

    def write_problem(self, task: Task) -> None:
        if task.problem is not None:
            self._problems.write(problem_line(task.problem))
            self.account.testable += 1

    def write_rows(self, task: Task, where: Where) -> None:
        """Those of its programs that can be kept."""
        rows, lengths = self._fitting(task, list(self._distinct(task, where)), where)
        apart = [self._apart is not None and row["metadata"]["language"] == "python2" for row in rows]
        written = []
        for row, is_apart in zip(rows, apart, strict=True):
            line = orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
            if is_apart and self._apart is not None:
                self._apart.write(line)
                continue
            self._rows.write(line)
            self.metadata.add(row["is_correct"], row["metadata"]["difficulty"])
            written.append((row, line))
        self.account.rows += len(written)
        self.account.rows_apart += sum(apart)
        self._small.offer(written)
        self.stats.add(
            [row for row, _ in written], [length for length, no in zip(lengths, apart, strict=False) if not no]
        )

    def _distinct(self, task: Task, where: Where) -> Iterator[Solution]:
        """Each program once; one that is labelled both right and wrong not at all."""
        labels: dict[bytes, set[bool]] = {}
        for one in task.solutions:
            labels.setdefault(digest(one.text.strip()), set()).add(one.is_correct)
        taken = set()
        for one in task.solutions:
            key = digest(one.text.strip())
            if not one.text.strip():
                self.account.drop("an empty program", where)
            elif len(labels[key]) > 1:
                self.account.drop("labelled both correct and incorrect", where)
            elif key in taken:
                self.account.drop("the same program again", where)
            else:
                taken.add(key)
                yield one

    def _fitting(self, task: Task, solutions: list[Solution], where: Where) -> tuple[list[dict[str, Any]], list[int]]:
        rows = [_row(task, one) for one in solutions]
        if self.length is None or not rows:
            return rows, []
        lengths = self.length(rows)
        fits = [length <= self.options.max_length for length in lengths]
        for _ in range(fits.count(False)):
            self.account.drop(f"longer than {self.options.max_length:,} tokens with its template", where)
        kept = [(row, length) for row, length, fit in zip(rows, lengths, fits, strict=True) if fit]
        return [row for row, _ in kept], [length for _, length in kept]

    def close(self) -> None:
        self.metadata.close()
        if self._small_file is not None:
            self._small_file.writelines(self._small.lines())


def _row(task: Task, one: Solution) -> dict[str, Any]:
    label = "correct" if one.is_correct else "incorrect"
    return {
        "instruction": task.instruction,
        "input": task.input,
        "output": one.text,
        "task_id": f"{task.name}_{label}_{one.number}",
        "is_correct": one.is_correct,
        "metadata": task.metadata | {"language": one.language},
    }


def write_split(
    out: Path, split: str, read: ReadSplit, options: CodeOptions, account: SplitAccount, seen: Seen
) -> tuple[list[Path], dict[str, Any]]:
    """All files of one split but its statistics, which are given back."""
    with ExitStack() as files:
        writer = SplitWriter(out, split, options, account, files)
        for where, found in track(read(split, account), f"{split}"):
            account.problems += 1
            if isinstance(found, BadRow):
                account.drop_problem(found.kind, where)
                continue
            try:
                task, elsewhere = seen.place(found, split)
            except BadRow as bad:
                account.drop_problem(bad.kind, where)
                continue
            writer.write_problem(task)
            if elsewhere is None:
                writer.write_rows(task, where)
            else:
                account.drop_problem(f"its text is in the {elsewhere} split, so its programs are no rows", where)
        writer.close()
    return writer.paths, writer.stats.as_dict(writer.metadata.labels.stats)
