"""From an example to the samples it becomes, as pieces of text: what is said where, and which of it is learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ..errors import ModelError
from .masks import Learn, Turn, answer_places, join_turns, read_turn
from .schema import Example, Message
from .templates import ChatTemplate, TemplateRefusal
from .tokens import Marker, Piece, TextEncoder


@dataclass(frozen=True)
class Draft:
    """A sample before it is tokenized."""

    example: Example
    pieces: tuple[Piece, ...]
    end_text: str
    turns: tuple[Turn, ...] = ()
    split: bool = False
    """One turn of a dialogue that could not stay whole."""
    marked: bool = False
    """A message held special tokens; they were taken as text."""


class Drafter:
    """Knows the tokenizer, the chat template and what is to be learned."""

    def __init__(self, encoder: TextEncoder, learn: Learn, split_rewritten: bool) -> None:
        self.encoder, self.learn, self.split_rewritten = encoder, learn, split_rewritten

    @cached_property
    def template(self) -> ChatTemplate:
        """Looked at when the first chat comes: other data need none."""
        return ChatTemplate(self.encoder.tokenizer)

    @cached_property
    def _eos(self) -> tuple[str, int]:
        tokenizer = self.encoder.tokenizer
        if tokenizer.eos_token_id is None:
            raise ModelError(
                "the tokenizer has no eos token, so a model could never learn to stop; give it an eos_token"
            )
        return str(tokenizer.eos_token), int(tokenizer.eos_token_id)

    def drafts(self, example: Example) -> list[Draft]:
        """One sample, or one a turn. What cannot be masked is a `TemplateRefusal`."""
        if example.kind == "text":
            return [self._text(example)]
        if example.kind == "plain":
            return [self._plain(example)]
        return self._chat(example)

    def asking(self, example: Example, alone: bool = False) -> Draft:
        """The sample whose last piece is the answer to be given, written as for training; the answer may be missing.

        `alone` takes the last turn by itself, as `drafts` splits a dialogue that its template rewrites.
        """
        if example.kind == "plain":
            return self._plain(replace(example, completion=example.completion or ""))
        turns, marked = self._turns(example, "last_turn" if alone else self.learn, open_end=True)
        pieces = self._pieces(turns)
        if pieces is not None:
            return Draft(example, pieces, self.template.facts.end_text, turns, split=alone, marked=marked)
        self._refuse_rewritten()
        return self.asking(example, alone=True)

    def again(self, draft: Draft, example: Example) -> Draft:
        """The same sample with a shorter prompt."""
        if example.kind == "plain":
            return self._plain(example)
        turns, marked = self._turns(example, "last_turn" if draft.split else self.learn)
        pieces = self._pieces(turns)
        if pieces is None:
            raise TemplateRefusal("the chat template rewrites the dialogue once its middle is cut")
        return replace(draft, example=example, pieces=pieces, turns=turns, marked=marked)

    def _text(self, example: Example) -> Draft:
        assert example.text is not None
        eos, eos_id = self._eos
        text = example.text.removesuffix(eos)
        return Draft(example, (Piece(text, True, self.encoder.begin, (eos_id,), first=True),), eos)

    def _plain(self, example: Example) -> Draft:
        assert example.prompt is not None
        assert example.completion is not None
        eos, eos_id = self._eos
        prompt = Piece(example.prompt, self.learn == "all", self.encoder.begin, first=True)
        return Draft(example, (prompt, Piece(example.completion.removesuffix(eos), True, end=(eos_id,))), eos)

    def _chat(self, example: Example) -> list[Draft]:
        turns, marked = self._turns(example, self.learn)
        end_text = self.template.facts.end_text
        pieces = self._pieces(turns)
        if pieces is not None:
            return [Draft(example, pieces, end_text, turns, marked=marked)]
        self._refuse_rewritten()
        samples = []
        for number, (place, turn) in enumerate(zip(answer_places(example.messages), turns, strict=True)):
            part = replace(example, id=f"{example.id}-{number}", messages=example.messages[: place + 1])
            alone = self._pieces([turn])
            assert alone is not None
            samples.append(Draft(part, alone, end_text, (turn,), split=True, marked=marked))
        return samples

    def _refuse_rewritten(self) -> None:
        if not self.split_rewritten:
            raise TemplateRefusal(
                "the chat template rewrites earlier turns",
                "so this dialogue cannot be one sample; set data.rewritten_turns to split, or data.learn to last_turn",
            )

    def _turns(self, example: Example, learn: Learn, open_end: bool = False) -> tuple[tuple[Turn, ...], bool]:
        """The answers in their places; with `open_end` also the place of one that is still to be given."""
        messages = [self._as_text(message) for message in example.messages]
        places = answer_places(messages)
        if open_end and messages[-1].role != "assistant" and any(m.role == "user" for m in messages):
            places.append(len(messages))
        if not places:
            raise TemplateRefusal("no answer to learn", "no assistant message comes after a user message")
        chosen = places if learn == "every_turn" else places[-1:]
        marked = any(one is not other for one, other in zip(messages, example.messages, strict=True))
        return tuple(read_turn(self.template, messages, place) for place in chosen), marked

    def _pieces(self, turns: Sequence[Turn]) -> tuple[Piece, ...] | None:
        facts = self.template.facts
        pieces = join_turns(turns, facts.end_text, facts.end_id, learn_all=self.learn == "all")
        return None if pieces is None else tuple(pieces)

    @cached_property
    def _markers(self) -> tuple[Marker, Marker]:
        added = self.encoder.tokenizer.added_tokens_decoder.values()
        return Marker(str(token) for token in added if token.special), Marker(self.template.turn_tokens)

    def _as_text(self, message: Message) -> Message:
        """The message with its special tokens marked as text, so that nobody forges a turn; itself when it has none."""
        of_others, of_answers = self._markers
        content = (of_answers if message.role == "assistant" else of_others)(message.content)
        return message if content == message.content else replace(message, content=content)
