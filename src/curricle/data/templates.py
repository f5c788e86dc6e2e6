"""What a chat template does, found by rendering it and looking, never by searching for known headers.

    generation prompt    <|im_start|>user⏎Hi<|im_end|>⏎<|im_start|>assistant⏎
    rendered answer      <|im_start|>user⏎Hi<|im_end|>⏎<|im_start|>assistant⏎ <think></think> Hello <|im_end|> ⏎
                                                                              └─ lead ──────┘ └───┘ └─ end ──┘
                                                                                              target  └ tail ──┘

The *lead* is what some templates write between their own generation prompt and a plain answer (an empty think block, a
channel header). The *end* is the first added token after the answer; a template that writes none gets the
tokenizer's eos token. The *opening* is what some templates write into the generation prompt only (`<think>`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError
from .readers import BadRow
from .schema import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

NAMED = {"chatml": CHATML}

_QUESTION, _ANSWER, _SYSTEM = "PROBE QUESTION", "PROBE ANSWER", "PROBE SYSTEM"


class TemplateRefusal(BadRow):
    """A dialogue that the chat template does not write, or writes so that the border of an answer is not known."""


def load_template(asked: str) -> str:
    """The template of that name, of that file, or written out in place."""
    if asked in NAMED:
        return NAMED[asked]
    if "{{" in asked or "{%" in asked:
        return asked
    path = Path(asked)
    if path.is_file():
        return path.read_text(encoding="utf-8")
    raise ModelError(
        f"chat_template `{asked}` is no file, no Jinja text and no known name; known: {', '.join(sorted(NAMED))}"
    )


def use_template(tokenizer: PreTrainedTokenizerBase, asked: str | None) -> None:
    """Give the tokenizer the template a recipe asks for, so that training, generation and export all use it."""
    if asked is not None:
        tokenizer.chat_template = load_template(asked)


@dataclass(frozen=True)
class TemplateFacts:
    """What rendering one question and one answer showed."""

    tail: str
    """Everything the template writes after an answer."""
    space: str
    """White space of the tail that comes before the end of turn."""
    end_text: str
    end_id: int
    eos_added: bool
    """The template writes no end of turn, so the tokenizer's eos token was taken."""
    lead: str
    opening: str
    holds_prompt: bool
    """A rendered plain answer begins with the generation prompt."""


class ChatTemplate:
    """A tokenizer's chat template, with what it does."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if not tokenizer.chat_template:
            raise ModelError(
                f"the tokenizer {tokenizer.name_or_path or '(in memory)'} has no chat template, and the data are "
                "chats: set data.chat_template to `chatml`, a Jinja file or a Jinja text, or use prompt-completion data"
            )
        self.tokenizer = tokenizer

    def render(self, messages: Sequence[Message], generation: bool = False) -> str:
        """The dialogue as text, with the generation prompt if asked. Raises `TemplateRefusal`."""
        from jinja2 import TemplateError

        turns: list[Any] = [{"role": m.role, "content": m.content} for m in messages]
        try:
            text = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=generation)
        except (TemplateError, TypeError, KeyError, IndexError) as error:
            roles = ", ".join(m.role for m in messages)
            raise TemplateRefusal("the chat template refuses the dialogue", f"{error} (roles: {roles})") from error
        assert isinstance(text, str)
        return text

    @cached_property
    def facts(self) -> TemplateFacts:
        question, answer = Message("user", _QUESTION), Message("assistant", _ANSWER)
        try:
            prompt, whole = self.render([question], generation=True), self.render([question, answer])
        except TemplateRefusal as error:
            raise ModelError(f"this chat template cannot write a question and an answer: {error}") from error
        if _QUESTION not in prompt or _ANSWER not in whole:
            raise ModelError(
                "this chat template leaves out messages that are plain text (a template for images?); "
                "set data.chat_template to one for text"
            )
        before, _, tail = whole.rpartition(_ANSWER)
        space, end_text, eos_added = self._end_of(tail)
        end_id = self.tokenizer.convert_tokens_to_ids(end_text)
        assert isinstance(end_id, int)
        holds = before.startswith(prompt)
        opening = prompt.removeprefix(before) if prompt.startswith(before) else ""
        return TemplateFacts(
            tail=tail,
            space=space,
            end_text=end_text,
            end_id=end_id,
            eos_added=eos_added,
            lead=before[len(prompt) :] if holds else "",
            opening=opening,
            holds_prompt=holds,
        )

    def _end_of(self, tail: str) -> tuple[str, str, bool]:
        """White space before the end of turn, the end of turn, and whether it had to be added."""
        found = [
            (tail.index(text), -len(text), text)
            for text in (str(token) for token in self.tokenizer.added_tokens_decoder.values())
            if text in tail and not text.isspace()
        ]
        if found:
            place, _, text = min(found)
            if not tail[:place].strip():
                return tail[:place], text, False
        eos = self.tokenizer.eos_token
        if eos is None:
            raise ModelError(
                "the chat template writes no end of turn and the tokenizer has no eos token, so a model could never "
                "learn to stop; set data.chat_template or give the tokenizer an eos_token"
            )
        return "", str(eos), True

    @cached_property
    def system(self) -> str:
        """What becomes of a system message: `kept`, `dropped` without a word, or `refused`."""
        try:
            text = self.render([Message("system", _SYSTEM), Message("user", _QUESTION)], generation=True)
        except TemplateRefusal:
            return "refused"
        return "kept" if _SYSTEM in text else "dropped"

    @cached_property
    def strict_roles(self) -> bool:
        """Whether user and assistant have to take turns."""
        try:
            self.render([Message("user", _QUESTION), Message("user", _QUESTION)], generation=True)
        except TemplateRefusal:
            return True
        return False

    @cached_property
    def turn_tokens(self) -> frozenset[str]:
        """Special tokens that mark turns: text inside an answer. Others (`<think>`, tool calls) stay tokens."""
        question = Message("user", _QUESTION)
        asked, prompt = self.render([question]), self.render([question], generation=True)
        special = {str(token) for token in self.tokenizer.added_tokens_decoder.values() if token.special}
        header = prompt.removeprefix(asked)
        opener = min((token for token in special if token in header), key=header.index, default=None)
        named = {str(token) for token in self.tokenizer.special_tokens_map.values()}
        return frozenset(t for t in special if t in asked or t in self.facts.tail or t in named or t == opener)
