"""What was written for each problem: completions of a file or of a model, as JSON lines between writing and running.

    {"task_id": "HumanEval/0", "sample": 0, "completion": "    return ...", "style": "base", "num_tokens": 31, ...}

A file of another tool needs `task_id` and either `completion`, what stands behind the problem's own code, or
`solution`, a whole program. `style` says how a completion becomes a program (`evaluation.programs`); ours carry it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from ...data.config import DataConfig
from ...data.problems import Problem
from ...data.prompts import Prompts, make_prompts
from ...data.readers import json_name
from ...data.rows import Rows
from ...data.schema import Example, Message, Where
from ...data.tokens import Piece, TextEncoder
from ...errors import DataError, RecipeError, nearest
from ...evaluation.config import REFERENCE_SCORES, UNBOUNDED, PassAtK
from ...evaluation.programs import STYLES, Style, question, reference_answer, stops
from ...evaluation.score import Score
from ...generation.answers import answer, model_fingerprint
from ...generation.config import GenerationConfig
from ...runtime.files import atomic_file
from ...runtime.fingerprint import fingerprint
from ...runtime.progress import counted, say
from ..predictions import whole_rows
from .problems import Problems

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LONGEST = 8192
"""Tokens of prompt and answer together, for a model that may take more."""
TOP_P = 0.95
"""Where tokens are drawn and no other share is asked for."""
AT_ONCE = 8
"""Reference solutions whose likelihood is computed in one pass."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer to one problem."""

    task_id: str
    sample: int
    text: str
    style: Style = "as-is"
    whole: bool = False
    """It is a whole program, not to be put behind anything."""
    num_tokens: int | None = None
    finished: bool | None = None

    def row(self) -> dict[str, Any]:
        field = "solution" if self.whole else "completion"
        row = {"task_id": self.task_id, "sample": self.sample, field: self.text}
        if not self.whole:
            row["style"] = self.style
        if self.num_tokens is not None:
            row |= {"num_tokens": self.num_tokens, "finished": self.finished}
        return row


def write_completions(path: Path, completions: Sequence[Completion]) -> None:
    with atomic_file(path, "wb") as handle:
        for one in completions:
            handle.write(orjson.dumps(one.row(), option=orjson.OPT_APPEND_NEWLINE))


# --- of a file ----------------------------------------------------------------------------------------


def read_completions(
    path: str | Path, problems: Problems, style: Style | None = None
) -> tuple[list[Completion], list[str]]:
    """The completions of a file to these problems, and what a person should know of them. `style` is for rows that
    bring none of their own, by default as they are."""
    found, unknown = [], Counter[str]()
    numbers = Counter[str]()
    for line, row in whole_rows(path):
        one = _completion(row, f"{path}:{line}", style)
        problem = problems.known_as(one.task_id)
        if problem is None:
            unknown[one.task_id] += 1
            continue
        one = replace(one, task_id=problem.task_id)
        if one.sample < 0:
            one = replace(one, sample=numbers[one.task_id])
        numbers[one.task_id] += 1
        found.append(one)
    if not found:
        theirs, ours = ", ".join(list(unknown)[:3]), ", ".join(list(problems.by_id)[:3])
        raise DataError(
            f"{path}: none of its {sum(unknown.values()):,} rows is to a problem of {problems.path}; it has {theirs}, "
            f"the problems are {ours}"
        )
    twice = [key for key, count in Counter((one.task_id, one.sample) for one in found).items() if count > 1]
    if twice:
        raise DataError(f"{path}: `{twice[0][0]}` has two completions called sample {twice[0][1]}; number them anew")
    left_out = sum(unknown.values())
    said = f"completions to no problem of {problems.path}, left out: {left_out:,}"
    return found, [f"{said} (first: {next(iter(unknown))})"] if unknown else []


def _completion(row: dict[str, Any], place: str, style: Style | None) -> Completion:
    if "task_id" not in row or isinstance(row["task_id"], bool) or not isinstance(row["task_id"], str | int):
        raise DataError(f"{place}: `task_id` is {json_name(row.get('task_id'))}, expected the name of a problem")
    fields = [name for name in ("completion", "solution") if row.get(name) is not None]
    if len(fields) != 1:
        had = "both" if fields else ", ".join(f"`{name}`" for name in row)
        raise DataError(f"{place}: a row has either `completion` or `solution`; found {had}")
    text, sample, own = row[fields[0]], row.get("sample", -1), row.get("style", style or "as-is")
    if not isinstance(text, str):
        raise DataError(f"{place}: `{fields[0]}` is {json_name(text)}, expected text")
    if isinstance(sample, bool) or not isinstance(sample, int):
        raise DataError(f"{place}: `sample` is {json_name(sample)}, expected a whole number")
    if own not in STYLES:
        raise DataError(f"{place}: `style` is {own!r}; {nearest(str(own), STYLES)}")
    return Completion(str(row["task_id"]), sample, text, own, whole=fields == ["solution"])


# --- of a model -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Writer:
    """A model, what it takes to ask it, and the problems it is asked."""

    model: Any
    tokenizer: PreTrainedTokenizerBase
    data: DataConfig
    """How the model is spoken to: its chat template and system prompt."""
    entry: PassAtK
    problems: Sequence[Problem]
    seed: int = 0

    @property
    def style(self) -> Style:
        if self.entry.style != "auto":
            return self.entry.style
        return "chat" if self.tokenizer.chat_template else "base"

    def write(self, samples_path: Path | None = None) -> list[Completion]:
        """`n` completions of every problem; with a path, those that a killed try made are not made again."""
        asked = [
            (one, number) for one in zip(self.problems, self.prompts, strict=True) for number in range(self.entry.n)
        ]
        items = [
            replace(prompt, id=f"{problem.task_id}#{number}", stop_texts=self._stops(problem))
            for (problem, prompt), number in asked
        ]
        prompts = replace(self.prompts, items=items)
        answers = answer(self.model, self.tokenizer, prompts, self.generation, samples_path, self.seed)
        return [
            Completion(problem.task_id, number, one.prediction, self.style, False, one.num_tokens, one.finished)
            for ((problem, _), number), one in zip(asked, answers, strict=True)
        ]

    @property
    def generation(self) -> GenerationConfig:
        if self.entry.drawn_at == 0:
            return GenerationConfig()
        return GenerationConfig(temperature=self.entry.drawn_at, top_p=self.entry.top_p or TOP_P)

    @cached_property
    def prompts(self) -> Prompts:
        """Every problem once, as the model is asked."""
        room = min(self._positions or LONGEST, LONGEST)
        limit = min(self.entry.max_new_tokens, room // 2)
        if limit < self.entry.max_new_tokens:
            say(f"answers may have up to {limit} tokens, as the model has {room} positions")
        settings = {"max_length": room, "on_long": "truncate", "on_bad_row": "error", "learn": "last_turn"}
        data = self.data.model_copy(update=settings)
        return make_prompts([self._example(problem) for problem in self.problems], self.tokenizer, data, limit)

    @property
    def _positions(self) -> int | None:
        from ...models.likelihood import max_positions

        return max_positions(self.model)

    def _stops(self, problem: Problem) -> tuple[str, ...]:
        return stops(problem) if self.style == "base" else ()

    def _example(self, problem: Problem) -> Example:
        text, where = question(problem, self.style), Where(problem.task_id, 0)
        if self.style == "base" or (self.style == "bare" and not self.tokenizer.chat_template):
            return Example("plain", problem.task_id, where, prompt=text)
        system = [] if self.data.system_prompt is None else [Message("system", self.data.system_prompt)]
        return Example("chat", problem.task_id, where, messages=(*system, Message("user", text)))

    def about(self) -> dict[str, Any]:
        """What shapes a completion, beside the model and its prompt."""
        return {
            "n": self.entry.n,
            "temperature": self.generation.temperature,
            "top_p": self.generation.top_p,
            "max_new_tokens": self.prompts.max_new_tokens,
            "seed": self.seed,
            "style": [self.style],
            "stop_texts": sorted({self._stops(problem) for problem in self.problems} - {()}),
        }

    def fingerprint(self) -> str:
        """Changes when other completions would be written."""
        asked = [(problem.task_id, one.tokens) for problem, one in zip(self.problems, self.prompts, strict=True)]
        return fingerprint(self.about(), asked, model_fingerprint(self.model))

    def reference_scores(self, rows: Rows) -> list[Score]:
        """How likely the model finds the reference solutions, each behind its prompt: nats a token, and bits a byte."""
        from ...models.likelihood import answer_losses_of

        texts = [reference_answer(problem, self.style) if problem.reference else "" for problem in self.problems]
        tokens = TextEncoder(self.tokenizer).encode([Piece(text, True) for text in texts])
        pairs = [(list(one.tokens), ids) for one, ids in zip(self.prompts, tokens, strict=True)]
        limit = self._positions or max(len(before) + len(ids) for before, ids in pairs)
        known = [i for i, (before, ids) in enumerate(pairs) if ids and len(before) + len(ids) <= limit]
        if not known:
            return []
        found = answer_losses_of(self.model, [pairs[i] for i in known], rows, batch_size=AT_ONCE)
        sums, counts, sizes = (np.zeros(len(pairs)) for _ in range(3))
        sums[known], counts[known] = found.sums(), found.counts
        sizes[known] = [len(texts[i].encode()) for i in known]
        note = f"of {counted(len(known), 'reference solution')}"
        if len(known) < len(pairs):
            note += f"; {len(pairs) - len(known):,} are not there, or longer than the model reads"
        loss, bits = REFERENCE_SCORES
        return [
            _likelihood(loss, sums, counts, f"nats a token {note}", "tokens"),
            _likelihood(bits, sums / np.log(2), sizes, f"bits a byte {note}", "bytes"),
        ]


def _likelihood(name: str, sums: np.ndarray, weights: np.ndarray, note: str, unit: str) -> Score:
    means = sums / np.maximum(weights, 1)
    value = float(sums.sum() / weights.sum())
    return Score(name, value, means, weights, higher_is_better=False, note=note, unit=unit, range=UNBOUNDED)


def complete(problems: Problems, completions: Sequence[Completion], least: int, allow_missing: bool) -> list[str]:
    """Refuse problems that have too few completions to be judged, or say that they count as not solved."""
    have = Counter(one.task_id for one in completions)
    missing = [task_id for task_id in problems.by_id if not have[task_id]]
    if not missing:
        return []
    said = f"{len(missing):,} of {len(problems):,} problems have no completion (first: {', '.join(missing[:3])})"
    if not allow_missing:
        raise RecipeError(f"{said}; --allow-missing counts them as not solved")
    return [f"{said}, counted as not solved with {counted(least, 'sample')} each"]
