"""MMLU as its authors released it: a folder of CSV files without a header, one a subject and split.

    DIR/dev/abstract_algebra_dev.csv      the examples that go before a question, in this order
    DIR/val/abstract_algebra_val.csv
    DIR/test/abstract_algebra_test.csv    question,A,B,C,D,answer

A prompt is put as their program puts it, to the letter: the subject's name stands behind two spaces there.

    The following are multiple choice questions (with answers) about  abstract algebra.

    Find all c in Z_3 such that Z_3[x]/(x^2 + c) is a field.
    A. 0
    B. 1
    C. 2
    D. 3
    Answer: B                             an example; of the question itself the last line is `Answer:`
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ..errors import DataError, RecipeError, nearest
from ..runtime.files import sha256_file
from ..runtime.fingerprint import fingerprint

LETTERS = "ABCD"
SHOTS = "dev"
ID = 16
"""Digits of a question's id, as many as a row's."""


@dataclass(frozen=True)
class Question:
    """A line of a file."""

    id: str
    subject: str
    text: str
    choices: tuple[str, ...]
    answer: int
    """The place of the right choice."""

    def asked(self) -> str:
        lines = [self.text, *(f"{letter}. {one}" for letter, one in zip(LETTERS, self.choices, strict=True))]
        return "\n".join([*lines, "Answer:"])

    def shown(self) -> str:
        """With its answer, as an example."""
        return f"{self.asked()} {LETTERS[self.answer]}\n\n"


@dataclass(frozen=True)
class Exam:
    """The questions of some subjects, and the examples that go before them."""

    split: str
    questions: list[Question]
    shots: dict[str, list[Question]]
    """By subject, as many as were asked for."""
    num_shots: int
    files: list[dict[str, str]]
    """By path and hash."""

    @property
    def subjects(self) -> list[str]:
        return list(self.shots)

    @property
    def ids(self) -> list[str]:
        return [question.id for question in self.questions]

    def prompt(self, question: Question, num_shots: int) -> str:
        """With the first so many of the subject's examples."""
        about = question.subject.replace("_", " ")
        shots = "".join(shot.shown() for shot in self.shots[question.subject][:num_shots])
        return (
            f"The following are multiple choice questions (with answers) about  {about}.\n\n{shots}{question.asked()}"
        )


def subjects_in(folder: str | Path, split: str) -> list[str]:
    """By the names of the files; none where there is no such folder."""
    ending = f"_{split}.csv"
    return sorted(path.name.removesuffix(ending) for path in (Path(folder) / split).glob(f"*{ending}"))


def read_exam(
    folder: str | Path, subjects: Sequence[str] | None, split: str, num_shots: int, limit: int | None = None
) -> Exam:
    """The first `limit` questions of each subject, or all."""
    known = subjects_in(folder, split)
    if not known:
        raise DataError(
            f"{folder}: no {split}/SUBJECT_{split}.csv in it; mmlu takes the folder of the CSV release, with dev, val "
            "and test below it"
        )
    for name in subjects or ():
        if name not in known:
            raise RecipeError(f"mmlu: {folder} has no subject `{name}` in {split}; {nearest(name, known)}")
    questions: list[Question] = []
    shots: dict[str, list[Question]] = {}
    files: list[Path] = []
    for subject in subjects or known:
        path = Path(folder) / split / f"{subject}_{split}.csv"
        questions += list(islice(_read(path, subject), limit))
        files.append(path)
        shots[subject] = []
        if num_shots:
            files.append(path := Path(folder) / SHOTS / f"{subject}_{SHOTS}.csv")
            shots[subject] = list(islice(_read(path, subject), num_shots))
        if len(shots[subject]) < num_shots:
            raise DataError(
                f"{path}: {num_shots} examples are asked for, and it has {len(shots[subject])}; set num_shots to "
                f"{len(shots[subject])} or less"
            )
    hashes = [{"path": str(path), "sha256": sha256_file(path)} for path in files]
    return Exam(split, questions, shots, num_shots, hashes)


def _read(path: Path, subject: str) -> list[Question]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.reader(handle, strict=True)
            found = [_question(row, f"{path}:{reader.line_num}", subject, i) for i, row in enumerate(reader)]
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no CSV in UTF-8: {error}") from error
    if not found:
        raise DataError(f"{path} holds no question")
    return found


def _question(row: list[str], place: str, subject: str, number: int) -> Question:
    if len(row) != len(LETTERS) + 2:
        raise DataError(f"{place}: {len(row)} columns, expected 6: question, A, B, C, D, answer")
    text, *choices, answer = row
    if answer not in tuple(LETTERS):
        raise DataError(f"{place}: the answer is {answer!r}, expected A, B, C or D (a header is not expected)")
    id_ = fingerprint("mmlu", subject, number, row)[:ID]
    return Question(id_, subject, text, tuple(choices), LETTERS.index(answer))
