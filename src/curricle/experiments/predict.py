"""Answer the rows of a file: JSONL for programs, or the CSV that a competition asks for."""

from __future__ import annotations

import csv
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from ..data.config import DataConfig
from ..data.encode import encode
from ..data.prompts import Prompts, longest_target, make_prompts
from ..data.schema import Example
from ..data.sources import ExampleSource, read_examples
from ..errors import DataError, RecipeError, RunError
from ..generation.answers import Answer, answer
from ..runtime.devices import computing
from ..runtime.files import atomic_file
from ..runtime.progress import counted, say
from ..runtime.quiet import calm_libraries
from ..runtime.ranks import is_main
from .material import half_of
from .predictions import Id, row_ids
from .subject import NO_DATA, Subject, find_subject

ENDINGS = (".jsonl", ".csv")
ROW = "row"
"""The id column of data that have none."""


@dataclass(frozen=True)
class Predicted:
    """The answers to a file, in its order, and what they took."""

    output: Path
    answers: dict[Id, Answer] = field(repr=False)
    """By the id of the row."""
    seconds: float | None
    """What answering took; None when it went on from an earlier try."""
    notes: list[str]
    """What was cut or left out."""

    def __str__(self) -> str:
        answers = self.answers.values()
        tokens = sum(one.num_tokens for one in answers)
        lines = [f"{self.output}: {len(answers):,} answers, {tokens:,} tokens"]
        if self.seconds:
            lines[0] += f", {tokens / self.seconds:,.0f} tokens/s"
        if open_ended := sum(not one.finished for one in answers):
            lines.append(f"answers that did not end by themselves: {open_ended:,}")
        if empty := sum(not one.prediction.strip() for one in answers):
            lines.append(f"empty answers: {empty:,}")
        return "\n".join(lines)


@calm_libraries()
def predict(
    model: str | Path,
    data: str | Path,
    output: str | Path,
    *,
    recipe: str | Path | None = None,
    overrides: Sequence[str] = (),
    id_column: str | None = None,
    text_column: str = "prediction",
    max_new_tokens: int | None = None,
    force: bool = False,
) -> Predicted:
    """Answer every row of `data` with a run, a model folder or a model of the hub, and write `output`.

    The ending of `output`, .jsonl or .csv, says what is written. Targets that rows may have are not looked at.

    >>> curricle.predict("runs/summaries/base/seed-42", "test.jsonl", "answers.jsonl")   # doctest: +SKIP
    """
    output = _writable(Path(output), force)
    subject = find_subject(model, recipe, overrides, data)
    source = read_examples(subject.settings.data, "eval")
    column, ids = _ids(source, id_column)
    if text_column == column:
        raise RecipeError(f"--text-column {text_column} is the column of ids too; the answers need one of their own")
    tokenizer = subject.tokenizer()
    loaded = subject.load(tokenizer)
    prompts = prompts_of(subject, source, tokenizer, subject.data_for(loaded), max_new_tokens)
    started = time.perf_counter()
    samples = output.with_name(f".{output.name}.samples.jsonl")
    begun = samples.exists()
    generation = subject.settings.generation.model_copy(update={"num_examples": None})
    with computing(next(loaded.parameters()).device, half_of(subject.settings)):
        answers = answer(loaded, tokenizer, prompts, generation, samples, subject.seed)
    seconds = None if begun else time.perf_counter() - started
    places = [(prompt.example.where.file, prompt.example.where.line) for prompt in prompts]
    named = [(ids[place], one) for place, one in zip(places, answers, strict=True)]
    _tell_lacking(output, ids, set(places))
    if is_main():
        _write(output, [(id_, one.prediction.strip()) for id_, one in named], column, text_column)
        for path in (samples, samples.with_suffix(".meta.json")):
            path.unlink(missing_ok=True)
    return Predicted(output, dict(named), seconds, prompts.notes)


def _tell_lacking(output: Path, ids: dict[tuple[str, int], Id], answered: set[tuple[str, int]]) -> None:
    lacking = [str(id_) for place, id_ in ids.items() if place not in answered]
    if lacking:
        say(
            f"{output} lacks {len(lacking):,} of {len(ids):,} rows, as data.on_bad_row: skip asks "
            f"(first: {', '.join(lacking[:5])})"
        )


def _writable(output: Path, force: bool) -> Path:
    if output.suffix not in ENDINGS:
        raise RecipeError(f"-o {output}: the ending says what is written; it must be {' or '.join(ENDINGS)}")
    if output.exists() and not force:
        raise RunError(f"{output} is there already; name another file, or replace it with --force")
    return output


def _ids(source: ExampleSource, id_column: str | None) -> tuple[str, dict[tuple[str, int], Id]]:
    """The column of ids, and the id of the row at each place."""
    paths = [info.path for info in source.files]
    found = [row_ids(path, id_column) for path in paths]
    column = found[0][0]
    if id_column is not None and column != id_column:
        raise DataError(f"{paths[0]}: no column `{id_column}` (--id-column)")
    ids = {(path, line): id_ for path, (_, own) in zip(paths, found, strict=True) for line, id_ in own.items()}
    twice = [id_ for id_, count in Counter(map(str, ids.values())).items() if count > 1]
    if twice:
        shown = ", ".join(twice[:5])
        raise DataError(
            f"{' and '.join(paths)}: {counted(len(twice), 'id')} of several rows (first: {shown}), whose answers "
            "could not be told apart; name another column with --id-column"
        )
    return column or ROW, ids


def prompts_of(
    subject: Subject, source: ExampleSource, tokenizer: Any, data: DataConfig, max_new_tokens: int | None
) -> Prompts:
    """The rows of a source as prompts; how long an answer may be is taken from the training data where nothing says."""
    limit, longest = max_new_tokens or subject.settings.generation.max_new_tokens, None
    if limit is None and data.train != NO_DATA and all(Path(one.path).is_file() for one in data.sources("train")):
        longest = longest_target(encode(read_examples(data, "train"), tokenizer, data))  # found in the cache
    return make_prompts(map(without_target, source), tokenizer, data, limit, longest)


def without_target(example: Example) -> Example:
    """So that a row is answered alike whether its target is known or not."""
    if example.target is None:
        return example
    messages = example.messages[:-1] if example.kind == "chat" else example.messages
    return replace(example, messages=messages, completion=None, references=())


def _write(output: Path, rows: Sequence[tuple[Id, str]], id_column: str, text_column: str) -> None:
    with atomic_file(output, "wb" if output.suffix == ".jsonl" else "w") as handle:
        if output.suffix == ".jsonl":
            made = ({id_column: id_, text_column: text} for id_, text in rows)
            handle.writelines(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in made)
            return
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow([id_column, text_column])
        writer.writerows(rows)
