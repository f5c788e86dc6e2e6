"""Texts to compare: made-up ones in two languages, and real ones where the data is there."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

from hypothesis import strategies as st

ENGLISH = ["the", "The", "a", "cat", "dog's", "sat", "on", "#Person1#", "mat", "7", "sat.", ",", "ran", "é", "\n", "."]
KOREAN = [
    "나는",
    "밥을",
    "먹었다",
    "샀다",
    "나는",
    "학교에",
    "갔다.",
    "#Person1#은",
    "너",
    "너는",
    "그",
    ".",
    "\n",
    "abc",
]

Pair = tuple[str, str]


def texts(vocabulary: list[str]) -> st.SearchStrategy[str]:
    """Words drawn with much repetition, empty texts and odd spaces among them."""
    drawn = st.lists(st.sampled_from(vocabulary), max_size=14)
    return st.builds(lambda space, found: space.join(found), st.sampled_from([" ", " ", "  "]), drawn)


def dialogsum(folder: Path, number: int = 500) -> list[Pair]:
    """One person's summary of a dialogue against another person's."""
    with gzip.open(folder / "dialogsum" / "dialogsum.test.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [(row["summary1"], row["summary2"]) for row in rows[:number]]


def korean(folder: Path, number: int = 500) -> list[Pair]:
    """Two real sentences against themselves with words dropped, moved and taken from their neighbours."""
    with gzip.open(folder / "prose_ko" / "ko_kaist-ud-dev.conllu.gz", "rt", encoding="utf-8") as lines:
        sentences = [line.removeprefix("# text = ").strip() for line in lines if line.startswith("# text = ")]
    draw = random.Random(0)
    pairs = []
    for i in range(number):
        reference = f"{sentences[2 * i]} {sentences[2 * i + 1]}"
        words = reference.split() + draw.choices(sentences[2 * i + 2].split(), k=2)
        kept = [word for word in words if draw.random() < 0.7]
        at = draw.randrange(len(kept) + 1)
        pairs.append((" ".join(kept[at:] + kept[:at]), reference))
    return pairs


def in_lines(pairs: list[Pair], seed: int = 0) -> list[Pair]:
    """The same texts, broken into lines at some spaces."""
    draw = random.Random(seed)

    def broken(text: str) -> str:
        return "".join("\n" if letter == " " and draw.random() < 0.15 else letter for letter in text)

    return [(broken(a), broken(b)) for a, b in pairs]
