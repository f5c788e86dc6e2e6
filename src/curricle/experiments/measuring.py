"""Measuring a finished run: its saved model, loaded as anybody would load it, on the recipe's held-out rows.

Everything a recipe asks for comes together here: one generation for all text metrics, the model's own likelihoods, and
a value a row wherever a figure has one, kept in `scores.json` for the intervals of a comparison.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..data.sources import read_examples
from ..data.table import TokenTable
from ..evaluation.accuracy import token_accuracy
from ..evaluation.config import (
    Hits,
    Ifd,
    LmEval,
    Loss,
    Measurement,
    Mmlu,
    PassAtK,
    Perplexity,
    TextMeasurement,
    TokenAccuracy,
)
from ..evaluation.ifd import answer_head, ifd
from ..evaluation.measure import Measured, labelled, text_scores
from ..evaluation.mmlu_files import Exam, read_exam
from ..evaluation.perplexity import answer_perplexity, text_perplexity, whole_text
from ..evaluation.ranking import hits
from ..evaluation.score import Score
from ..generation.answers import SPECULATION, Answer, answer, speculation_of
from ..models.likelihood import mean_by_domain
from ..runtime.devices import computing
from ..runtime.files import write_json
from ..runtime.fingerprint import fingerprint
from ..runtime.progress import say
from ..runtime.quiet import calm_libraries
from ..runtime.ranks import is_main
from .assemble import load_saved
from .material import Material, half_of, held_out_prompts, rows_of
from .resolve import measuring_hash

SAMPLES = "samples_eval.jsonl"
ROW_ID = 16
"""Digits of a row's id; what follows in a table's id names a window or a turn of the row."""


@calm_libraries()
def measure_run(material: Material, seed: int, folder: Path) -> dict[str, Any]:
    """Every figure that the recipe asks for; what is measured is what anybody can load."""
    started = time.perf_counter()
    model = load_saved(material, seed, folder)
    with computing(next(model.parameters()).device, half_of(material.settings)):
        measured, more = measure_model(material, model, folder, seed)
    if is_main():
        write_json(folder / "scores.json", measured.per_example() | {"domains": domains_of(material.eval)})
    return more | {
        "metrics": measured.metrics(),
        "figures": list(measured.scores),  # in the recipe's order, which JSON objects need not keep
        "metric_info": measured.info(),
        "measured": measuring_hash(material.settings),
        "measuring_seconds": time.perf_counter() - started,
    }


def measure_model(material: Material, model: Any, folder: Path, seed: int = 0) -> tuple[Measured, dict[str, Any]]:
    """All entries of `evaluation`, in the recipe's order, and the loss of each domain."""
    entries, more = material.settings.evaluation, dict[str, Any]()
    texts = [entry for entry in entries if isinstance(entry, TextMeasurement)]
    answers = _answers(material, model, folder, seed) if texts else []
    measured: list[tuple[Sequence[str], dict[str, Score]]] = []
    drafted = {"answers": speculation_of(folder / SAMPLES) if answers else None}
    for entry in entries:
        if isinstance(entry, TextMeasurement):
            own_ids: Sequence[str] = [one.id for one in answers]
            found = text_scores(entry, [one.prediction for one in answers], [one.references for one in answers])
        elif isinstance(entry, PassAtK):
            own_ids, found, drafted[entry.label] = _programs(entry, material, model, folder, seed)
        else:
            own_ids, found = _likelihoods(entry, material, model)
        measured.append((own_ids, labelled(entry, found)))
        if isinstance(entry, Loss):
            loss = found[0]
            assert loss.per_example is not None
            assert loss.weights is not None
            assert material.eval is not None
            more["domain_loss"] = mean_by_domain(loss.per_example * loss.weights, loss.weights, material.eval)
    if answers:
        more["answers"] = {"number": len(answers), "unfinished": sum(not one.finished for one in answers)}
    if any(drafted.values()):
        more[SPECULATION] = {name: about for name, about in drafted.items() if about}
    return _by_row(measured, material.eval.ids[:] if material.eval is not None else []), more


def _by_row(measured: Sequence[tuple[Sequence[str], dict[str, Score]]], table_ids: Sequence[str]) -> Measured:
    """Every figure over the same rows: those of the table first, then those that only some figure is about, as a
    perplexity of whole texts is about rows without a target too."""
    ids = rows_in([*table_ids, *(name for own_ids, _ in measured for name in own_ids)])
    scores = {name: over_rows(one, own_ids, ids) for own_ids, found in measured for name, one in found.items()}
    return Measured(ids, scores)


def _answers(material: Material, model: Any, folder: Path, seed: int) -> list[Answer]:
    """One answer to each held-out row, for all text metrics; those that a killed run made are not made again."""
    settings = material.settings
    prompts = material.prompts or held_out_prompts(settings, material.tokenizer)
    assert prompts is not None
    answers = answer(model, material.tokenizer, prompts, settings.generation, folder / SAMPLES, seed)
    unfinished = sum(not one.finished for one in answers)
    if unfinished:
        say(f"{unfinished:,} of {len(answers):,} answers were cut at {prompts.max_new_tokens} tokens before they ended")
    return answers


def _programs(
    entry: PassAtK, material: Material, model: Any, folder: Path, seed: int
) -> tuple[Sequence[str], list[Score], dict[str, Any] | None]:
    """Programs written by the model and run in the sandbox, and how drafts fared; its files lie in a folder of their
    own."""
    from .code.answers import Writer
    from .code.measuring import run_all, write_all
    from .code.problems import find_problems
    from .code.runs import bounds_of

    problems = find_problems(entry.problems)
    data = material.settings.data
    writer = Writer(model, material.tokenizer, data, entry, list(problems.by_id.values()), seed)
    own = folder / f"programs_{entry.label}"
    written = write_all(writer, problems, rows_of(material), own)
    evaluation = run_all(str(folder), problems, entry.k, written, bounds_of(entry), own)
    ids = [fingerprint(task_id)[:ROW_ID] for task_id in evaluation.measured.ids]  # as long as a row's
    return ids, list(evaluation.measured.scores.values()), evaluation.task.get(SPECULATION)


def _likelihoods(entry: Measurement, material: Material, model: Any) -> tuple[Sequence[str], list[Score]]:
    """What a model makes of the held-out rows, or of questions of its own, and the ids that its values belong to."""
    table, rows, settings = material.eval, rows_of(material), material.settings
    batch_size = settings.training["per_device_eval_batch_size"]
    if isinstance(entry, Mmlu):
        from ..evaluation.mmlu import mmlu

        exam = exam_of(entry)
        return exam.ids, mmlu(model, exam, material.tokenizer, rows, batch_size=batch_size)
    if isinstance(entry, LmEval):
        from ..evaluation.harness import harness

        return harness(model, material.tokenizer, entry, batch_size=batch_size)
    assert table is not None  # the recipe was checked for it
    match entry:
        case Loss():
            return table.ids[:], answer_perplexity(model, table, rows, batch_size=batch_size)
        case TokenAccuracy():
            return table.ids[:], token_accuracy(model, table, rows, batch_size=batch_size)
        case Hits():
            how: dict[str, Any] = {"candidates": entry.candidates, "k": entry.k, "batch_size": batch_size}
            return table.ids[:], hits(model, table, rows, tokenizer=material.tokenizer, **how)
        case Ifd():
            chat = bool(table.report.get("end_of_turn"))
            head = answer_head(material.tokenizer, chat=chat)
            return table.ids[:], ifd(model, table, rows, head=head, batch_size=batch_size)
        case Perplexity():
            examples = list(read_examples(settings.data, "eval"))
            how = {"context": entry.context, "stride": entry.stride, "eos": entry.eos, "batch_size": batch_size}
            texts = [whole_text(example) for example in examples]
            found = text_perplexity(model, texts, material.tokenizer, rows, **how)
            return [example.id for example in examples], found
    raise TypeError(f"no metric of likelihoods: {entry!r}")


def exam_of(entry: Mmlu) -> Exam:
    """The questions that an entry is about."""
    return read_exam(entry.path, entry.subjects, entry.split, entry.num_shots, entry.limit)


def domains_of(table: TokenTable | None) -> dict[str, str]:
    """The domain of each row, where rows name theirs."""
    if table is None or not table.domain_names:
        return {}
    numbers = zip(table.ids[:], table.domains, strict=True)
    return {name[:ROW_ID]: table.domain_names[number] for name, number in numbers}


def rows_in(table_ids: Sequence[str]) -> list[str]:
    """The rows of a table, each once, in its order."""
    return list(dict.fromkeys(name[:ROW_ID] for name in table_ids))


def over_rows(score: Score, own_ids: Sequence[str], ids: Sequence[str]) -> Score:
    """The same figure with a value for each of `ids`: a row's windows or turns are taken together, and a row that the
    figure says nothing about weighs 0.

    own_ids   a-0  a-1  b    c           ids       a    b    c    d
    values     1    4   2    5           values    3    2    5    0
    weights    1    2   1    1           weights   3    1    1    0
    """
    if score.per_example is None:
        return score
    place = {name: i for i, name in enumerate(ids)}
    rows = np.array([place[name[:ROW_ID]] for name in own_ids])
    weights = np.ones(len(rows)) if score.weights is None else np.asarray(score.weights, dtype=np.float64)
    sums = np.bincount(rows, weights * score.per_example, minlength=len(ids))
    totals = np.bincount(rows, weights, minlength=len(ids))
    uniform = score.weights is None and bool(np.all(totals == 1))
    values = sums / np.where(totals > 0, totals, 1)
    return replace(score, per_example=values, weights=None if uniform else totals)
