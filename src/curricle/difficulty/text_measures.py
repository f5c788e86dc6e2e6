"""Measures of a text that need no model: how well it compresses, how rich its words are, how tidy it looks."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from itertools import pairwise

from ..data.schema import Example

TTR = 0.72
"""The share of different words at which MTLD counts a stretch as used up (McCarthy and Jarvis, 2010)."""

_WORD = re.compile(r"\w+")
_SENTENCE_END = re.compile(r"[.!?。！？…\"'”’)\]}]\s*$")


def text_of(example: Example) -> str:
    """Everything a row says, prompt and answer, without any template or system prompt."""
    if example.kind == "text":
        return example.text or ""
    if example.kind == "plain":
        return (example.prompt or "") + (example.completion or "")
    return "\n".join(message.content for message in example.messages if message.role != "system")


def answer_of(example: Example) -> str:
    """What is to be learned."""
    return (example.text if example.kind == "text" else example.target) or ""


def compression(text: str) -> float:
    """Compressed bytes by zlib over bytes of UTF-8. Repetition compresses well, so small means easy; a text of a few
    bytes only grows."""
    raw = text.encode()
    return len(zlib.compress(raw, 9)) / len(raw) if raw else float("nan")


def mtld(text: str) -> float:
    """Measure of textual lexical diversity: the mean number of words in a row for which at least 72% are different,
    read forwards and backwards."""
    words = [word.lower() for word in _WORD.findall(text)]
    if not words:
        return float("nan")
    return (_stretch(words) + _stretch(words[::-1])) / 2


def _stretch(words: Sequence[str]) -> float:
    factors, seen, count = 0.0, set[str](), 0
    for word in words:
        seen.add(word)
        count += 1
        if len(seen) / count < TTR:
            factors, seen, count = factors + 1, set(), 0
    if count:
        factors += (1 - len(seen) / count) / (1 - TTR)
    return len(words) / factors if factors else float(len(words))


def quality(text: str) -> float:
    """A plain guess at how tidy an answer is, between 0 and 1: the mean of

    - the share of its characters that are letters, digits, blanks or common punctuation,
    - the share of its lines that are not repeated,
    - the share of its words that do not merely repeat the word before,
    - whether it ends like a sentence.

    It is no judge of truth; a table of prose has all four, markup, lists of symbols and stuck generators do not.
    """
    if not text.strip():
        return 0.0
    plain = sum(letter.isalnum() or letter.isspace() or letter in ".,;:!?'\"()-。、！？" for letter in text) / len(text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    words = _WORD.findall(text)
    stuck = sum(one == other for one, other in pairwise(words)) / max(1, len(words) - 1)
    return (plain + len(set(lines)) / len(lines) + 1 - stuck + bool(_SENTENCE_END.search(text))) / 4
