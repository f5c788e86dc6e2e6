"""From what a recipe asks to be measured to figures: one place knows which entry is which function."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .config import Bleu, Chrf, ForeignScript, LmEval, Measurement, Mmlu, Rouge, TextMeasurement
from .mmlu_files import read_exam
from .score import Score


@dataclass(frozen=True)
class Measured:
    """The figures of one set, and what each example contributed."""

    ids: list[str]
    scores: dict[str, Score]

    def metrics(self) -> dict[str, float]:
        return {name: score.value for name, score in self.scores.items()}

    def info(self) -> dict[str, dict[str, Any]]:
        return {
            name: {"higher_is_better": score.higher_is_better, "note": score.note}
            | ({"unit": score.unit} if score.unit else {})
            | ({"range": list(score.range)} if score.range else {})
            for name, score in self.scores.items()
        }

    def per_example(self) -> dict[str, Any]:
        """The content of scores.json: values an example, in the order of ids."""
        return {
            "ids": self.ids,
            "scores": {
                name: {
                    "values": _numbers(score.per_example),
                    "weights": None if score.weights is None else _numbers(score.weights),
                    "transform": score.transform,
                }
                for name, score in self.scores.items()
                if score.per_example is not None
            },
        }


def _numbers(values: np.ndarray) -> list[float]:
    return [float(value) for value in values]


def measure_texts(
    entries: Iterable[Measurement],
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    ids: Sequence[str],
) -> Measured:
    """Every text metric among the entries, on the same answers."""
    scores: dict[str, Score] = {}
    for entry in entries:
        if isinstance(entry, TextMeasurement):
            scores |= labelled(entry, text_scores(entry, predictions, references))
    return Measured(list(ids), scores)


def labelled(entry: Measurement, scores: Iterable[Score]) -> dict[str, Score]:
    """Scores by the names they have among all figures of a run, each with its range."""
    return {entry.figure(score.name): replace(score, range=entry.range_of(score.name)) for score in scores}


def text_scores(entry: TextMeasurement, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> list[Score]:
    """One entry's scores."""
    match entry:
        case Rouge():
            from .rouge import rouge

            return rouge(
                predictions,
                references,
                tokenizer=entry.tokenizer,
                multi_ref=entry.multi_ref,
                implementation=entry.implementation,
            )
        case Bleu():
            from .bleu import bleu

            return bleu(predictions, references, tokenizer=entry.tokenizer)
        case Chrf():
            from .bleu import chrf

            return chrf(predictions, references)
        case ForeignScript():
            from .scripts import foreign_script

            return foreign_script(predictions, references, allow=entry.allow, ignore=entry.ignore)
    raise TypeError(f"no text metric: {entry!r}")


def refuse_unready(entries: Iterable[Measurement]) -> None:
    """What an entry needs and lacks (a package, a script, its questions) is said before training, not after it."""
    for entry in entries:
        match entry:
            case Rouge():
                from .words import words

                words(entry.tokenizer)
            case Mmlu():
                read_exam(entry.path, entry.subjects, entry.split, entry.num_shots, entry.limit)
            case LmEval():
                from .harness import refuse_unready as refuse_tasks

                refuse_tasks(entry)
            case Bleu():
                from .bleu import bleu_metric

                bleu_metric(entry.tokenizer)
            case ForeignScript():
                from .scripts import foreign_script

                foreign_script([""], allow=entry.allow, ignore=entry.ignore)
