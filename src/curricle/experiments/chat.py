"""Talk with one model, or put the same words to several and see their answers side by side.

Each model keeps a conversation of its own: its history holds its own answers. From a terminal it goes on until /quit;
when the words come from a pipe or a file, one message a line, it answers all of them and ends.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..data.prompts import Prompts, make_prompts
from ..data.schema import Example, Message, Where
from ..data.sources import read_examples
from ..errors import DataError, RecipeError
from ..generation.config import GenerationConfig
from ..runtime.devices import Half, computing
from ..runtime.progress import say
from ..runtime.quiet import calm_libraries
from .material import half_of
from .subject import Subject, find_subject

BASE = "base"
NONE = "none"
HELP = "/reset forgets the conversation, /system TEXT sets the system message, /quit ends; \\n in a line is a line feed"
MAX_NEW_TOKENS = 256
NARROW = 60
"""Columns of a terminal below which answers are shown one after another."""

Hear = Callable[[str], None]


@dataclass
class Speaker:
    """One model in the conversation."""

    label: str
    answer: Callable[[Sequence[Message], Hear], str]
    """The answer to a conversation; what it hands to `Hear` on the way is the same text, piece by piece."""
    history: list[Message] = field(default_factory=list)

    def reply(self, system: str | None, text: str, hear: Hear) -> str:
        opening = [Message("system", system)] if system else []
        answer = self.answer([*opening, *self.history, Message("user", text)], hear)
        self.history += [Message("user", text), Message("assistant", answer)]
        return answer


class Chat:
    """A conversation with one or several models."""

    def __init__(self, speakers: Sequence[Speaker], system: str | None = None) -> None:
        self.speakers, self.system = list(speakers), system

    def reset(self) -> None:
        for speaker in self.speakers:
            speaker.history.clear()

    def take(self, line: str, hear: Hear = lambda piece: None) -> Iterator[tuple[str, str]]:
        """The answers to a line, with who gave them; a command gives none. /quit raises `EOFError`."""
        text = line.strip()
        if text.startswith("/"):
            self._command(text)
        elif text:
            for speaker in self.speakers:
                yield speaker.label, speaker.reply(self.system, text.replace("\\n", "\n"), hear)

    def _command(self, text: str) -> None:
        name, _, rest = text.partition(" ")
        if name == "/quit":
            raise EOFError
        if name == "/reset":
            self.reset()
            say("the conversation is forgotten")
        elif name == "/system":
            self.system = rest.strip() or None
            self.reset()
            say("the system message is " + ("set" if self.system else "removed") + "; the conversation is forgotten")
        else:
            say(f"{name} is no command; {HELP}")


@calm_libraries()
def chat(
    model: str | Path,
    *,
    beside: str | None = None,
    recipe: str | Path | None = None,
    system: str | None = None,
    max_new_tokens: int | None = None,
    overrides: Sequence[str] = (),
) -> None:
    """Talk with a model at the terminal; a run is put beside the model it started from.

    `beside` names another run or model, `base` or `none`. Without a terminal, one message a line is read from standard
    input. Answers are as the recipe's `generation` has them: greedy, if it says nothing else.
    """
    subjects = _subjects(model, beside, recipe, overrides)
    if system is None:
        system = subjects[0].settings.data.system_prompt
    talk = Chat([_speaker(subject, max_new_tokens) for subject in subjects], system)
    if sys.stdin.isatty():
        _at_terminal(talk)
    else:
        _from_lines(talk, sys.stdin)


def _subjects(
    model: str | Path, beside: str | None, recipe: str | Path | None, overrides: Sequence[str]
) -> list[Subject]:
    first = find_subject(model, recipe, overrides)
    trained = first.folder is not None and first.settings.trainer != "none"
    if beside is None:
        beside = BASE if trained else NONE
    if beside == NONE:
        return [first]
    if beside != BASE:
        # Another run brings its own recipe; another model is asked as the first one is.
        return [first, find_subject(beside, recipe, overrides if recipe is not None else ())]
    if not trained:
        raise RecipeError(f"--beside base: {model} is no trained run, so it has no base; name another run or model")
    return [first.untouched(), first]


# --- where the words come from ------------------------------------------------------------------------


def _from_lines(talk: Chat, lines: Iterable[str]) -> None:
    for line in lines:
        try:
            for label, answer in talk.take(line):
                print(f"{label}: {answer}" if len(talk.speakers) > 1 else answer, flush=True)
        except EOFError:
            return


def _at_terminal(talk: Chat) -> None:
    with suppress(ImportError):
        import readline  # noqa: F401  gives input() a history and a cursor that moves
    say(f"{' beside '.join(speaker.label for speaker in talk.speakers)}. {HELP}")
    while True:
        try:
            line = input("> ")
            if len(talk.speakers) == 1:
                _stream(talk, line)
            else:
                _side_by_side(list(talk.take(line)))
        except EOFError:
            return


def _stream(talk: Chat, line: str) -> None:
    def hear(piece: str) -> None:
        print(piece, end="", flush=True)

    for _ in talk.take(line, hear):
        print()


def _side_by_side(answers: Sequence[tuple[str, str]]) -> None:
    """In columns where there is room for them, one after another where there is not."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not answers:
        return
    if console.width < NARROW:
        for label, answer in answers:
            print(f"{label}: {answer}")
        return
    table = Table(box=None, expand=True, padding=(0, 2, 0, 0))
    for label, _ in answers:
        table.add_column(label, ratio=1)
    table.add_row(*(Text(answer) for _, answer in answers))
    console.print(table)


# --- how a model answers -------------------------------------------------------------------------------


def _speaker(subject: Subject, max_new_tokens: int | None) -> Speaker:
    tokenizer = subject.tokenizer()
    model = subject.load(tokenizer)
    data = subject.data_for(model)
    generation = subject.settings.generation
    limit = max_new_tokens or generation.max_new_tokens or min(MAX_NEW_TOKENS, data.max_length // 2)
    plain = _is_plain(subject, tokenizer)
    if plain:
        say(f"{subject.label}: each line is continued as plain text, without what was said before")

    def answer(messages: Sequence[Message], hear: Hear) -> str:
        prompts = make_prompts([_asked(messages, plain)], tokenizer, data, limit)
        return generate_aloud(model, tokenizer, prompts, generation, hear, half_of(subject.settings))

    return Speaker(subject.label, answer)


def _asked(messages: Sequence[Message], plain: bool) -> Example:
    where = Where("this conversation", len(messages))
    if plain:
        return Example("plain", id="", where=where, prompt=messages[-1].content)
    return Example("chat", id="", where=where, messages=tuple(messages))


def _is_plain(subject: Subject, tokenizer: Any) -> bool:
    """Whether a model continues text: it has no chat template, or was trained on rows without one."""
    if not tokenizer.chat_template:
        return True
    if subject.folder is None:
        return False
    try:
        return next(iter(read_examples(subject.settings.data, "train"))).kind != "chat"
    except DataError:  # the data have moved since
        return False


def _drawing(config: GenerationConfig) -> dict[str, Any]:
    """How the next token is chosen, in transformers' words. Beams cannot be heard while they grow: none are used."""
    drawn = {"temperature": config.temperature, "top_p": config.top_p, "top_k": config.top_k or 0}
    how: dict[str, Any] = {"do_sample": True, **drawn} if config.temperature else {"do_sample": False}
    return {**how, "num_beams": 1, "repetition_penalty": config.repetition_penalty}


def generate_aloud(
    model: Any, tokenizer: Any, prompts: Prompts, generation: GenerationConfig, hear: Hear, half: Half | None
) -> str:
    """The answer to the first prompt; its text is handed to `hear` as it grows."""
    import torch
    from transformers import TextStreamer

    class Aloud(TextStreamer):
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            pieces.append(text)
            hear(text)

    pieces: list[str] = []
    device = next(model.parameters()).device
    ids = torch.tensor([prompts[0].tokens], device=device)
    with torch.no_grad(), computing(device, half):
        model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            streamer=Aloud(tokenizer, skip_prompt=True, skip_special_tokens=True),
            **_drawing(generation),
            max_new_tokens=prompts.max_new_tokens,
            eos_token_id=list(prompts.stop_ids),
            pad_token_id=prompts.stop_ids[0],
        )
    return "".join(pieces).strip()
