"""MMLU: which of the letters A to D does the model find likeliest behind `Answer:`?

The letter stands behind a space, as in the examples before it, and the tokenizer decides what that is:

    ... Answer:| A      the space is part of the letter's token
    ... Answer: |A      the space is a token of its own; all four share it, so it belongs to the prompt
    ... Answer:|A       the tokenizer writes no space there

The four choices share their prompt, which is read once (`ranking`). Where a prompt is longer than the model reads,
examples go, the last first, and where that is not enough, its beginning; both are counted and said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..data.rows import Rows
from ..data.tokens import Piece, TextEncoder
from ..errors import ModelError
from ..models.likelihood import max_positions
from ..runtime.fingerprint import fingerprint
from ..runtime.progress import counted, say
from .mmlu_files import LETTERS, Exam
from .passk import LEVEL, interval
from .ranking import Choice, candidate_scores
from .score import Score

if TYPE_CHECKING:
    from torch import nn

ACCURACY = "accuracy"


@dataclass(frozen=True)
class Letters:
    """What the tokenizer makes of the four answers."""

    shared: list[int]
    """Tokens that all four begin with; they end the prompt."""
    tokens: list[list[int]]
    how: str


@dataclass(frozen=True)
class Asked:
    """Every question as the model reads it."""

    choices: list[Choice]
    """The letters in their order; the right one is not the first."""
    left_out: list[int]
    """Examples that each question does without."""
    cut: int
    """Questions that lost their beginning."""


def mmlu(model: nn.Module, exam: Exam, tokenizer: Any, rows: Rows, *, batch_size: int = 1) -> list[Score]:
    """Accuracy in percent over all questions, and of each subject, with a value a question."""
    letters = read_letters(tokenizer)
    asked = ask(exam, tokenizer, letters, max_positions(model))
    found = np.array(candidate_scores(model, asked.choices, rows, "sum", batch_size))
    right, ties = graded(found, np.array([question.answer for question in exam.questions]))
    note = _note(exam, asked, letters, ties)
    for line in _left_out(asked):
        say(f"mmlu: {line}")
    owners = np.array([question.subject for question in exam.questions])
    whole = _score(ACCURACY, right, np.ones(len(right)), note)
    return [whole, *(_score(name, right, (owners == name).astype(np.float64)) for name in exam.subjects)]


def read_letters(tokenizer: Any) -> Letters:
    """The four answers in tokens."""
    encoder = TextEncoder(tokenizer)
    tokens = encoder.encode([Piece(f" {letter}", True) for letter in LETTERS])
    shared = 0
    while all(len(one) > shared + 1 for one in tokens) and len({one[shared] for one in tokens}) == 1:
        shared += 1
    own = [one[shared:] for one in tokens]
    if len({tuple(one) for one in own}) < len(LETTERS) or not all(own):
        raise ModelError(
            "mmlu asks for the letters A, B, C and D, and this tokenizer does not tell them apart: "
            f"{', '.join(str(one) for one in tokens)}"
        )
    if shared:
        return Letters(tokens[0][:shared], own, "letters without the space before them, which is a token of its own")
    spaced = own != encoder.encode([Piece(letter, True) for letter in LETTERS])
    return Letters([], own, "letters with the space before them" if spaced else "letters without a space before them")


def ask(exam: Exam, tokenizer: Any, letters: Letters, limit: int | None) -> Asked:
    """As many examples before each question as fit in `limit` tokens, the letter with them."""
    encoder = TextEncoder(tokenizer)

    def prompts(which: Sequence[int], num_shots: int) -> list[list[int]]:
        texts = [exam.prompt(exam.questions[i], num_shots) for i in which]
        return [[*one, *letters.shared] for one in encoder.encode([_whole(encoder, text) for text in texts])]

    num = len(exam.questions)
    tokens, left_out, cut = prompts(range(num), exam.num_shots), [0] * num, 0
    if limit is not None:
        room = limit - max(map(len, letters.tokens))
        long = [i for i in range(num) if len(tokens[i]) > room]
        for fewer in range(1, exam.num_shots + 1):
            for i, shorter in zip(long, prompts(long, exam.num_shots - fewer), strict=True):
                tokens[i], left_out[i] = shorter, fewer
            long = [i for i in long if len(tokens[i]) > room]
        cut = len(long)
        for i in long:
            tokens[i] = tokens[i][-room:]
    return Asked([Choice(one, letters.tokens) for one in tokens], left_out, cut)


def _whole(encoder: TextEncoder, text: str) -> Piece:
    return Piece(text, False, encoder.begin, first=True)


def graded(found_qc: npt.NDArray[np.float64], answers_q: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float64], int]:
    """100 where the likeliest letter is the right one, else 0; and how many questions had two likeliest letters, of
    which the first is taken, as the release does. What has no number is wrong."""
    finite_q = np.isfinite(found_qc).all(1)
    best_q = np.where(finite_q, np.where(np.isfinite(found_qc), found_qc, -np.inf).argmax(1), -1)
    ties = int(((found_qc == found_qc.max(1, keepdims=True)).sum(1) > 1)[finite_q].sum())
    return 100.0 * (best_q == answers_q), ties


def _score(name: str, right: npt.NDArray[np.float64], weights: npt.NDArray[np.float64], note: str = "") -> Score:
    own = right[weights > 0]
    low, high = interval(own / 100)
    counts = (
        f"{counted(len(own), 'question')}; {LEVEL:.0%} interval over questions: {100 * low:.2f} to {100 * high:.2f}"
    )
    whole = bool((weights > 0).all())
    said = f"{counts}; {note}" if note else counts
    return Score(name, float(own.mean()), right, None if whole else weights, note=said)


def _note(exam: Exam, asked: Asked, letters: Letters, ties: int) -> str:
    parts = [
        f"percent of the {exam.split} questions of {counted(len(exam.subjects), 'subject')}",
        f"{counted(exam.num_shots, 'example')} before each, prompts as in the CSV release, no chat template",
        f"the likeliest of A to D behind `Answer:`, {letters.how}",
        *_left_out(asked),
        *([f"ties, which go to the first letter: {ties:,}"] if ties else []),
        f"files {fingerprint([one['sha256'] for one in exam.files])[:12]}",
    ]
    return "; ".join(parts)


def _left_out(asked: Asked) -> list[str]:
    """What did not fit the model."""
    lines = []
    if missing := sum(asked.left_out):
        lines.append(
            f"examples left out so that a prompt fits the model: {missing:,}, before "
            f"{counted(sum(one > 0 for one in asked.left_out), 'question')}"
        )
    if asked.cut:
        lines.append(f"questions that lost their beginning to fit the model: {asked.cut:,}")
    return lines
