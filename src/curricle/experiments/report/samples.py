"""The same example, every arm and seed: what each run answered, side by side, and where they differ most.

Prompts and references are kept once an example. The page holds all of it as compressed JSON, which the browser unpacks.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from ...runtime.files import read_json
from ...runtime.logs import JsonLog
from ..comparison.shape import Comparison

SAMPLES = "samples_eval.jsonl"
MAX_BYTES = 2_000_000
"""Of packed samples in a page; where there are more, those whose arms differ most are kept, and the page says so."""


@dataclass(frozen=True)
class Answer:
    run: int
    """Its place in `Samples.runs`."""
    prediction: str
    finished: bool
    prompt: int
    """Its place in the example's prompts: arms may ask differently."""
    scores: list[float | None]
    """In the order of `Samples.figures`."""


@dataclass(frozen=True)
class Example:
    id: str
    place: int
    """In the data."""
    prompts: list[str]
    references: list[str]
    answers: list[Answer] = field(default_factory=list)


@dataclass(frozen=True)
class Samples:
    """Sorted by how far the arms' mean scores are apart in the first figure."""

    runs: list[tuple[str, int]]
    figures: list[tuple[str, bool]]
    """Name, and whether higher is better; the first one sorts."""
    examples: list[Example]
    missing: list[str]
    """Runs without a file of samples."""


def read_samples(comparison: Comparison, folder: Path) -> Samples:
    """Every run's answers, gathered by example."""
    folders = [(run["arm"], run["seed"], folder / run["folder"]) for run in comparison.runs]
    with_file = [(arm, seed, run) for arm, seed, run in folders if (run / SAMPLES).exists()]
    missing = [f"{arm}, seed {seed}" for arm, seed, run in folders if not (run / SAMPLES).exists()]
    scores = [_scores(run) for _, _, run in with_file]
    figures = _figures(comparison, scores)
    examples: dict[str, Example] = {}
    for i, (_, _, run) in enumerate(with_file):
        for row in JsonLog(run / SAMPLES).rows():
            _take(examples, i, row, [scores[i].get(name, {}).get(str(row["id"])) for name, _ in figures])
    runs = [(arm, seed) for arm, seed, _ in with_file]
    ordered = sorted(examples.values(), key=lambda example: (-apart(example, runs), example.place))
    return Samples(runs, figures, ordered, missing)


def _scores(run: Path) -> dict[str, dict[str, float]]:
    """Figure -> example -> its own value; those that are not plain means are left out."""
    path = run / "scores.json"
    if not path.exists():
        return {}
    content = read_json(path)
    found = {}
    for name, score in content["scores"].items():
        if score["transform"] == "none":
            weights = score["weights"] or [1.0] * len(content["ids"])
            rows = zip(map(str, content["ids"]), score["values"], weights, strict=True)
            found[name] = {id_: value for id_, value, weight in rows if weight and value is not None}
    return found


def _figures(comparison: Comparison, scores: Iterable[dict[str, Any]]) -> list[tuple[str, bool]]:
    """Those with a value an example, the ones where higher is better first: they are about the answer."""
    there = {name for run in scores for name in run}
    known = [(metric.name, metric.higher_is_better) for metric in comparison.metrics if metric.name in there]
    return sorted(known, key=lambda figure: not figure[1])


def _take(examples: dict[str, Example], run: int, row: dict[str, Any], scores: list[float | None]) -> None:
    id_, prompt = str(row["id"]), str(row.get("prompt") or "")
    example = examples.get(id_)
    if example is None:
        example = examples[id_] = Example(id_, len(examples), [prompt], list(row.get("references") or []))
    if prompt not in example.prompts:
        example.prompts.append(prompt)
    place = example.prompts.index(prompt)
    example.answers.append(Answer(run, str(row["prediction"]), bool(row.get("finished", True)), place, scores))


def arm_means(example: Example, runs: Sequence[tuple[str, int]], figure: int = 0) -> dict[str, float]:
    """Each arm's mean over its seeds in one figure."""
    by_arm: dict[str, list[float]] = {}
    for answer in example.answers:
        if answer.scores and (value := answer.scores[figure]) is not None:
            by_arm.setdefault(runs[answer.run][0], []).append(value)
    return {arm: float(np.mean(values)) for arm, values in by_arm.items()}


def apart(example: Example, runs: Sequence[tuple[str, int]]) -> float:
    """How far the best and the worst arm are from each other."""
    means = arm_means(example, runs).values()
    return max(means) - min(means) if means else 0.0


def packed(samples: Samples) -> tuple[str, int]:
    """Compressed JSON in base64, and of how many examples it is."""
    num = len(samples.examples)
    while True:
        text = base64.b64encode(zlib.compress(orjson.dumps(_compact(samples, num)), 7)).decode()
        if len(text) <= MAX_BYTES or num <= 1:
            return text, num
        num = max(1, min(num - 1, int(0.95 * num * MAX_BYTES / len(text))))


def _compact(samples: Samples, num: int) -> dict[str, Any]:
    return {
        "runs": samples.runs,
        "figures": samples.figures,
        "examples": [
            {
                "id": example.id,
                "n": example.place,
                "p": example.prompts,
                "r": example.references,
                "a": [
                    [a.run, a.prediction, int(a.finished), a.prompt, [_short(value) for value in a.scores]]
                    for a in example.answers
                ],
            }
            for example in samples.examples[:num]
        ],
    }


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
