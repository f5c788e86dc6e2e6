"""ROUGE-1, -2, -L and -Lsum of English summaries against rouge-score, on one core.

    python benchmarks/rouge.py                            made-up summaries as long as DialogSum's, fixed seed
    python benchmarks/rouge.py --data dialogsum.test.jsonl.gz    the real ones: summary1 to summary3 against each other

Both sides are given the same texts and return all four figures of every pair. Ours keeps nothing of English texts from
one call to the next. The ways to cut Korean are measured for information.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from rouge_score.rouge_scorer import RougeScorer

from curricle.evaluation.rouge import NAMES, rouge
from curricle.evaluation.words import words
from harness import compare_times, figure, seconds, versioned

Pair = tuple[str, str]


def made_up(number: int, seed: int = 0) -> list[Pair]:
    """A summary of 19 words on average, and a second one that shares about half of them in much the same order.

    Words come as often as in any language: the r-th commonest 1 / r as often as the commonest.
    """
    draw = random.Random(seed)
    vocabulary = ["#Person1#", "#Person2#"] + ["".join(draw.choices("etaoinshrdlu", k=k % 7 + 2)) for k in range(4000)]
    weights = [1 / rank for rank in range(1, len(vocabulary) + 1)]
    pairs = []
    for _ in range(number):
        reference = draw.choices(vocabulary, weights, k=min(max(round(draw.lognormvariate(2.85, 0.4)), 5), 60))
        fresh = iter(draw.choices(vocabulary, weights, k=len(reference)))
        prediction = [word if draw.random() < 0.5 else next(fresh) for word in reference]
        pairs.append((" ".join(prediction).capitalize() + ".", " ".join(reference).capitalize() + "."))
    return pairs


def real(path: Path, number: int) -> list[Pair]:
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    each = [(row[f"summary{i}"], row[f"summary{j}"]) for i, j in permutations((1, 2, 3), 2) for row in rows]
    return each[:number]


def korean(number: int, seed: int = 0) -> list[Pair]:
    """Summaries of the same length made of real words."""
    draw = random.Random(seed)
    stems = ["학교", "회사", "친구", "점심", "저녁", "약속", "전화", "여행", "가족", "시간", "문제", "계획", "사람"]
    particles = ["은", "을", "에서", "에게", "이", "와", "의", "로", "까지", "부터"]
    verbs = ["갔다", "말했다", "먹었다", "만났다", "물었다", "샀다", "좋아한다", "기다린다", "설명한다", "제안한다"]

    def summary() -> list[str]:
        nouns = [draw.choice(stems) + draw.choice(particles) for _ in range(draw.randint(8, 20))]
        return [*nouns, draw.choice(verbs) + "."]

    pairs = []
    for _ in range(number):
        reference, other = summary(), summary()
        prediction = [word if draw.random() < 0.5 else other[i % len(other)] for i, word in enumerate(reference)]
        pairs.append((" ".join(prediction), " ".join(reference)))
    return pairs


def ours(pairs: list[Pair], **options: Any) -> Callable[[], np.ndarray]:
    predictions, references = [a for a, _ in pairs], [[b] for _, b in pairs]
    return lambda: np.array([score.per_example for score in rouge(predictions, references, **options)]) / 100


def rouge_score(pairs: list[Pair]) -> Callable[[], list[Any]]:
    scorer = RougeScorer(list(NAMES))
    return lambda: [scorer.score(target=reference, prediction=prediction) for prediction, reference in pairs]


def in_lines(pairs: list[Pair]) -> list[Pair]:
    """Three lines each, as ROUGE-Lsum wants summaries of several sentences."""

    def broken(text: str) -> str:
        words = text.split()
        third = len(words) // 3
        return "\n".join(" ".join(part) for part in (words[:third], words[third : 2 * third], words[2 * third :]))

    return [(broken(a), broken(b)) for a, b in pairs]


def compare(name: str, pairs: list[Pair], target: float | None) -> None:
    """Speed and equality against rouge-score."""
    run, peer, version = ours(pairs, tokenizer="english"), rouge_score(pairs), versioned("rouge-score")
    compare_times(name, run, peer, target=target, peer_version=version, num_pairs=len(pairs), threads=1)
    theirs = np.array([[score[key].fmeasure for score in peer()] for key in NAMES])
    worst = float(np.abs(run()[: len(NAMES)] - theirs).max())
    figure(f"{name}.difference", ours=worst, target=1e-9, direction="at_most", peer_version=version)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="DialogSum's test file, instead of made-up text")
    parser.add_argument("--pairs", type=int, default=4000)
    options = parser.parse_args()
    pairs = real(options.data, options.pairs) if options.data else made_up(options.pairs)

    compare("rouge.english", pairs, target=10)
    compare("rouge.english_lines", in_lines(pairs), target=None)

    texts = korean(options.pairs)
    words("morpheme")("나는")  # loads the analyser
    for tokenizer in ("eojeol", "character", "syllable-bigram", "morpheme"):
        took = seconds(ours(texts, tokenizer=tokenizer))
        figure(f"rouge.{tokenizer}", ours=len(texts) / took, unit="pairs/s", threads=1)


if __name__ == "__main__":
    main()
