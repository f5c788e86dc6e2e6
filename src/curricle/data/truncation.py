"""Makes a sample fit by shortening its prompt in the middle. Template, question, target and end of turn stay.

    dialogue       whole utterances go, from the middle; one too long by itself is cut inside
    other chats    earlier exchanges go, from the middle; then the middle of the longest user message
    plain prompt   its middle

    units          a  b  c  d  e  f        budget for four        kept   a  b  e  f

Nothing else changes: no mark is put where something was taken out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from .readers import BadRow
from .schema import Example, Message
from .tokens import TextEncoder

_LEAST = 8
"""An utterance is cut inside down to this many tokens; below that it goes as a whole."""


class TooLong(BadRow):
    """A sample whose template, question and target alone are longer than allowed."""


@dataclass(frozen=True)
class Fitted:
    """A prompt that fits, and the number of earlier answers that went with it."""

    example: Example
    answers_cut: int = 0


def fit(
    example: Example, length: int, max_length: int, encoder: TextEncoder, measure: Callable[[Example], int]
) -> Fitted:
    """The example with as much of its prompt's middle removed as needed. `measure` gives the tokens of a candidate.

    Token counts of parts do not add up exactly, so a cut that is still too long is widened by what it misses.
    """
    excess = length - max_length
    while True:
        shorter = _without(example, excess, encoder)
        if shorter is None:
            raise TooLong(
                "longer than data.max_length even with its prompt cut away",
                f"{length} tokens, {max_length} are allowed; template, question, target and end of turn are kept",
            )
        missing = measure(shorter) - max_length
        if missing <= 0:
            return Fitted(shorter, _answers(example) - _answers(shorter))
        excess += missing


def _answers(example: Example) -> int:
    return sum(message.role == "assistant" for message in example.messages)


def _without(example: Example, excess: int, encoder: TextEncoder) -> Example | None:
    """The example with about `excess` tokens fewer, or None when nothing of the prompt would be left."""
    if example.kind == "plain":
        prompt = without_middle(example.prompt or "", excess, encoder)
        return None if prompt is None else replace(example, prompt=prompt)
    if example.units:
        units = shorter_units(example.units, excess, encoder)
        return None if units is None else example.with_units(units)
    return _shorter_chat(example, excess, encoder)


def without_middle(text: str, excess: int, encoder: TextEncoder) -> str | None:
    """A text without `excess` tokens of its middle, cut where tokens begin; None when nothing would be left."""
    places = encoder.offsets(text)
    kept = len(places) - excess
    if kept <= 0:
        return None
    head = kept - kept // 2
    resume = head + excess
    begin = places[head][0] if head < len(places) else len(text)
    return text[:begin] + (text[places[resume][0] :] if resume < len(places) else "")


def keep_ends(lengths: Sequence[int], budget: int) -> tuple[int, int]:
    """How many to keep from the start and from the end, taken in turn while they fit, so that the middle goes."""
    head, tail, left = 0, len(lengths), budget
    may_head = may_tail = True
    while head < tail and (may_head or may_tail):
        from_head = may_head and (not may_tail or head <= len(lengths) - tail)
        size = lengths[head] if from_head else lengths[tail - 1]
        fits = size <= left
        left -= size if fits else 0
        if from_head:
            head, may_head = head + fits, fits
        else:
            tail, may_tail = tail - fits, fits
    return head, len(lengths) - tail


def shorter_units(units: Sequence[str], excess: int, encoder: TextEncoder) -> tuple[str, ...] | None:
    """Utterances without `excess` tokens of the middle. An utterance that could not stay even alone is cut inside."""
    kept = list(units)
    counts = encoder.count([unit + "\n" for unit in kept])
    while max(counts, default=0) > (budget := sum(counts) - excess) and max(counts, default=0) > _LEAST:
        longest = counts.index(max(counts))
        cut = min(excess, counts[longest] - _LEAST)
        kept[longest] = without_middle(kept[longest], cut, encoder) or ""
        counts[longest] -= cut
        excess -= cut
        if excess <= 0:
            return tuple(kept)
    head, tail = keep_ends(counts, budget)
    if head + tail == 0:
        return None
    return (*kept[:head], *kept[len(kept) - tail :])


def _shorter_chat(example: Example, excess: int, encoder: TextEncoder) -> Example | None:
    """Without earlier exchanges, then without the middle of the longest user message."""
    opening, exchanges = _exchanges(example.messages)
    *earlier, last = exchanges
    sizes = [sum(encoder.count([m.content for m in exchange])) for exchange in earlier]
    head, tail = keep_ends(sizes, max(0, sum(sizes) - excess))
    gone = sum(sizes[head : len(sizes) - tail])
    messages = [*opening, *(m for e in (*earlier[:head], *earlier[len(earlier) - tail :], last) for m in e)]
    if gone < excess:
        shorter = _cut_longest(messages, excess - gone, encoder)
        if shorter is None:
            return None
        messages = shorter
    return replace(example, messages=tuple(messages))


def _exchanges(messages: Sequence[Message]) -> tuple[list[Message], list[list[Message]]]:
    """What comes before the first user message, and each user message with all that follows it."""
    opening: list[Message] = []
    exchanges: list[list[Message]] = []
    for message in messages:
        if message.role == "user":
            exchanges.append([message])
        else:
            (exchanges[-1] if exchanges else opening).append(message)
    return opening, exchanges


def _cut_longest(messages: list[Message], excess: int, encoder: TextEncoder) -> list[Message] | None:
    users = [i for i, message in enumerate(messages) if message.role == "user"]
    counts = encoder.count([messages[i].content for i in users])
    longest = users[counts.index(max(counts))]
    content = without_middle(messages[longest].content, excess, encoder)
    if content is None:
        return None
    return [replace(m, content=content) if i == longest else m for i, m in enumerate(messages)]
