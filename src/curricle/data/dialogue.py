"""A dialogue as units that can be dropped one by one, and the prompt that asks for its summary.

Two shapes are read: the transcript, one string with a `#Person1#:` tag at the start of each utterance, and the
conversation record, a list of {speaker, utterance}. Both become the same prompt, in sections or plain:

    [Conversation]                     #Person1#: Shall we eat?
    #Person1#: Shall we eat?           #Person2#: At six.
    #Person2#: At six.
                                       ...
    [Question]
    ...

Nothing that was said is lost: every utterance is kept once, in order, and so is text that belongs to no speaker.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from .config import DataConfig, Keywords, Prompt
from .readers import BadRow, json_name

# A tag counts only where a line starts: people quote tags inside what they say.
_TAG = re.compile(r"^[ \t]*(#[^#\n]{1,40}#)[ \t]*:", re.MULTILINE)


@dataclass(frozen=True)
class DialoguePrompt:
    """The wording around the utterances."""

    question: str
    question_without_keywords: str
    speaker_prefix: str = ""
    prompt: Prompt = "sections"
    keywords: Keywords = "all"

    @classmethod
    def of(cls, data: DataConfig) -> DialoguePrompt:
        """The wording that a recipe asks for."""
        return cls(**{field.name: getattr(data, field.name) for field in fields(cls)})

    def around(self, keywords: Sequence[str]) -> tuple[str, str]:
        """What comes before and after the utterances."""
        named = ", ".join(keywords if self.keywords == "all" else keywords[:1])
        question = self.question.replace("{keywords}", named) if keywords else self.question_without_keywords
        return (
            ("[Conversation]\n", f"\n\n[Question]\n{question}")
            if self.prompt == "sections"
            else ("", f"\n\n{question}")
        )

    def units(self, dialogue: Any, field: str) -> tuple[str, ...]:
        """The utterances, one unit each, from a transcript or a conversation record."""
        if isinstance(dialogue, str):
            return split_transcript(dialogue, self.speaker_prefix)
        if isinstance(dialogue, list):
            return tuple(_spoken(turn, f"{field}[{k}]", self.speaker_prefix) for k, turn in enumerate(dialogue))
        raise BadRow(
            f"`{field}` is no dialogue", f"found {json_name(dialogue)}, expected a transcript or a list of turns"
        )


def split_transcript(text: str, speaker_prefix: str = "") -> tuple[str, ...]:
    """One unit for each tagged utterance, its later lines with it; text before the first tag is a unit as it stands.

    Without any tag the lines themselves are the units, unchanged.

    >>> split_transcript("At work.\\n#Person1#: Hi.\\n#Person2#:  Hello,\\nyou.")
    ('At work.', '#Person1#: Hi.', '#Person2#: Hello,\\nyou.')
    """
    tags = list(_TAG.finditer(text))
    if not tags:
        return tuple(text.split("\n")) if text.strip() else ()
    before = text[: tags[0].start()].removesuffix("\n")
    ends = [tag.start() for tag in tags[1:]] + [len(text)]
    spoken = (
        f"{speaker_prefix}{tag[1]}: {text[tag.end() : end].strip()}".rstrip()
        for tag, end in zip(tags, ends, strict=True)
    )
    return ((before,) if before.strip() else ()) + tuple(spoken)


def _spoken(turn: Any, field: str, speaker_prefix: str) -> str:
    if not isinstance(turn, dict):
        raise BadRow("a turn is no object", f"`{field}` is {json_name(turn)}, expected {{speaker, utterance}}")
    for key in ("speaker", "utterance"):
        if not isinstance(turn.get(key), str):
            found = json_name(turn[key]) if key in turn else "nothing"
            raise BadRow(f"a turn without `{key}`", f"`{field}.{key}` is {found}, expected text")
    return f"{speaker_prefix}{turn['speaker']}: {turn['utterance']}"


def as_keywords(value: Any, field: str) -> tuple[str, ...]:
    """Keywords from one string or a list of them; blanks count for nothing."""
    given = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(word, str) for word in given):
        raise BadRow(f"`{field}` is no keyword list", f"found {json_name(value)}, expected text or a list of texts")
    return tuple(word.strip() for word in given if word.strip())
