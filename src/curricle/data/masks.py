"""Which tokens of an example are learned: known from how it is put together, and then proved.

The prompt of a turn is the template's own generation prompt; what follows is the answer and the end of the turn. Prompt
and answer are tokenized apart, so that the border between them is a fact and not a guess:

    text       <|im_start|>user⏎Hi<|im_end|>⏎<|im_start|>assistant⏎ | Hello there | <|im_end|>
    tokens       p0 ... p7                                            t0  t1        end
    learned      0  ... 0                                             1   1         1

Several turns share one sample when the prompt of the next begins with everything so far. A template that rewrites
earlier turns (it drops their think blocks, or ends the last turn differently) breaks that, and each turn becomes a
sample of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from .schema import Message
from .templates import ChatTemplate, TemplateRefusal
from .tokens import Piece, TextEncoder

Learn = Literal["every_turn", "last_turn", "all"]

_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Turn:
    """One answer in its place."""

    context: str
    """Everything before it, as generation sees it."""
    target: str
    """The answer as the template writes it."""
    lead: str = ""
    """The end of the context that the template writes before a plain answer, beyond its generation prompt."""
    reshaped: bool = False
    """The template writes the answer with other white space than the data."""


@dataclass(frozen=True)
class Masked:
    """A tokenized sample."""

    tokens: npt.NDArray[np.uint32]
    supervised: npt.NDArray[np.bool_]


def answer_places(messages: Sequence[Message]) -> list[int]:
    """Where the assistant answers somebody. A greeting before the first user message answers nobody."""
    asked = next((i for i, m in enumerate(messages) if m.role == "user"), len(messages))
    return [i for i, m in enumerate(messages) if m.role == "assistant" and i > asked]


def read_turn(template: ChatTemplate, messages: Sequence[Message], place: int) -> Turn:
    """The answer `messages[place]` after the prompt that generation would see, compared with the template's own
    rendering of both. An answer that is still to be given, beyond the last message, is empty."""
    facts = template.facts
    if messages[0].role == "system" and template.system == "dropped":
        raise TemplateRefusal("the chat template drops system messages", "take them out, or set data.chat_template")
    prompt = template.render(messages[:place], generation=True)
    if place == len(messages):
        lead = facts.lead if facts.lead.strip() else ""
        return Turn(prompt + lead, "", lead)
    content = messages[place].content
    whole = template.render(messages[: place + 1])
    if not whole.endswith(facts.tail):
        raise TemplateRefusal("the chat template ends an answer otherwise", f"{whole[-30:]!r}, not {facts.tail!r}")
    if whole.startswith(prompt):
        body = whole[len(prompt) : len(whole) - len(facts.tail)]
        lead, target = _split_body(prompt, body, content)
    else:
        lead, target = "", _after_opening(facts.opening, content)
    return Turn(prompt + lead, target + facts.space, lead, reshaped=target != content)


def _split_body(prompt: str, body: str, content: str) -> tuple[str, str]:
    """What the template wrote after its generation prompt, as (lead, answer)."""
    for form in (content, content.strip(), content.lstrip(), content.rstrip()):
        if body.endswith(form):
            lead = body[: len(body) - len(form)]
            return (lead, form) if lead.strip() else ("", body)
    written, asked = _squeezed(body), _squeezed(content)
    held = asked.removesuffix(written)
    if written and asked.endswith(written) and _squeezed(prompt).endswith(held):
        return "", body  # the same but for white space and for an opening that the prompt already holds
    raise TemplateRefusal("the chat template changes the answer", f"{_short(content)} becomes {_short(body)}")


def _after_opening(opening: str, content: str) -> str:
    """The answer without the opening that the generation prompt already holds, for templates that drop it elsewhere."""
    said = content.lstrip()
    if opening.strip() and said.startswith(opening.strip()):
        return said.removeprefix(opening.strip()).lstrip("\n")
    held = f"ends with {opening!r}" if opening else "differs from what the template writes before a plain answer"
    raise TemplateRefusal(
        "the answer does not go on from the generation prompt",
        f"which {held}; give answers with a think block (an empty one will do), or set data.chat_template",
    )


def _squeezed(text: str) -> str:
    return _SPACE.sub("", text)


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:30] + " ... " + text[-25:])


def join_turns(turns: Sequence[Turn], end_text: str, end_id: int, learn_all: bool = False) -> list[Piece] | None:
    """The pieces of one sample that holds all these turns, or None when a later prompt does not go on from them.

    prompt 1     S u A              pieces   S u A | t . | u A | t .
    prompt 2     S u A t . u A      learned  0 0 0   1 1   0 0   1 1
    """
    pieces: list[Piece] = []
    so_far = ""
    for turn in turns:
        if not turn.context.startswith(so_far):
            return None
        pieces.append(Piece(turn.context[len(so_far) :], learn_all, first=not pieces))
        pieces.append(Piece(turn.target, True, end=(end_id,)))
        so_far = turn.context + turn.target + end_text
    return pieces


def assemble(pieces: Sequence[Piece], ids: Sequence[Sequence[int]]) -> Masked:
    """The tokens of a sample, and which of them are learned. The first never is: nothing comes before it."""
    lengths = [len(part) for part in ids]
    tokens = np.fromiter(chain.from_iterable(ids), dtype=np.uint32, count=sum(lengths))
    supervised = np.repeat([piece.learned for piece in pieces], lengths)
    supervised[:1] = False
    return Masked(tokens, supervised)


def learned_runs(sample: Masked) -> list[list[int]]:
    """The ids of each unbroken stretch of learned tokens."""
    edges = np.flatnonzero(np.diff(np.r_[False, sample.supervised, False].astype(np.int8)))
    return [sample.tokens[begin:end].tolist() for begin, end in zip(edges[::2], edges[1::2], strict=True)]


def prove(encoder: TextEncoder, pieces: Sequence[Piece], sample: Masked, texts: Sequence[str], end_text: str) -> bool:
    """Check that what is learned reads as the answers, each with one end of turn, and nothing else.

    `texts` are the decoded `learned_runs` of the sample. True when the tokenizer itself could not write an answer
    exactly; anything else that does not fit is an error.
    """
    bos = encoder.tokenizer.bos_token_id
    if bos is not None and sample.tokens[:2].tolist() == [bos, bos]:
        raise DataError(
            f"begins with {encoder.tokenizer.bos_token} twice; the chat template or the text writes one too many"
        )
    if pieces[0].learned:  # everything is: there is no border to get wrong
        return False
    answers = [encoder.plain(piece.text) for piece in pieces if piece.learned]
    if len(texts) != len(answers):
        raise DataError(f"{len(texts)} stretches are learned where there are {len(answers)} answers; the mask is wrong")
    inexact = False
    for answer, text in zip(answers, texts, strict=True):
        if encoder.same_text(text, answer + end_text):
            continue
        if not text.endswith(end_text) or encoder.survives(answer):
            raise DataError(
                f"the learned tokens read {_short(text)}, the answer is {_short(answer)}; the mask is wrong"
            )
        inexact = True
    return inexact


def outcome(template: ChatTemplate, answers: Sequence[str]) -> str:
    """What becomes of a dialogue with these answers: `whole dialogue`, `one sample per turn` or `refused`."""
    messages = [m for i, a in enumerate(answers) for m in (Message("user", f"QUESTION {i}"), Message("assistant", a))]
    facts = template.facts
    try:
        turns = [read_turn(template, messages, place) for place in answer_places(messages)]
    except TemplateRefusal:
        return "refused"
    return "whole dialogue" if join_turns(turns, facts.end_text, facts.end_id) else "one sample per turn"
