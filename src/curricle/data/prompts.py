"""Rows as prompts to be answered: the tokens that training has before a row's last answer, and nothing of the answer.

    training     begin  template  system  dialogue  question  header | answer  end of turn
    prompt       begin  template  system  dialogue  question  header |

A prompt is as long as it may be when an answer is still to follow: `data.max_length` less the longest target of the
set, whatever the row's own target is, so that a row without one gets the same prompt. What is longer loses its middle,
as in training.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, TypeVar, overload

import numpy as np

from ..errors import DataError, RecipeError
from ..runtime.progress import counted, say, track
from .config import DataConfig
from .drafts import Draft, Drafter
from .readers import BadRow
from .schema import Example
from .table import TokenTable
from .templates import use_template
from .tokens import TextEncoder
from .truncation import fit

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Tokens = TypeVar("Tokens", list[int], np.ndarray)

SPARE = 8
"""How much longer than the longest target an answer may be, in tokens, when the recipe sets no limit."""

_CHUNK = 256
_PLACES = 3


@dataclass(frozen=True)
class Prompt:
    """One row to be answered."""

    id: str
    tokens: list[int]
    text: str
    """The prompt as the template writes it, after any cut."""
    references: tuple[str, ...]
    """Every accepted answer; empty for a row without a target."""
    example: Example
    """The row, its prompt cut where it was too long."""
    stop_texts: tuple[str, ...] = ()
    """Texts that end its answer as well; the answer holds the one it was ended by."""


@dataclass(frozen=True)
class Prompts(Sequence[Prompt]):
    """The rows of a set in their order, and what is needed to answer them."""

    items: Sequence[Prompt]
    stop_ids: tuple[int, ...]
    """What ends an answer: the template's end of turn, and the tokenizer's eos token."""
    max_new_tokens: int
    """The longest answer, in tokens: as asked, or a little more than the longest target."""
    notes: list[str] = field(default_factory=list)
    """What was cut or left out, for a person."""

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> Prompt: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Prompt]: ...
    def __getitem__(self, index: int | slice) -> Prompt | Sequence[Prompt]:
        return self.items[index]

    def head(self, num: int | None) -> Prompts:
        """The first so many, with the same limits; all with None."""
        return replace(self, items=self.items[:num])

    def with_references(self) -> Prompts:
        """Those whose answers can be compared with something. That rows have references, but only blank ones, is
        said."""
        blank = [str(one.example.where) for one in self.items if one.references and not comparable(one.references)]
        kept = replace(self, items=[prompt for prompt in self.items if comparable(prompt.references)])
        if not blank:
            return kept
        rows = counted(len(blank), "row") + (" is" if len(blank) == 1 else " are")
        note = f"{rows} left out of text metrics, as every answer would score 0: the target is empty ({_first(blank)})"
        say(note)
        return replace(kept, notes=[*self.notes, note])


def comparable(references: Sequence[str]) -> bool:
    """Whether an answer can be anything but wrong beside these: one of them has a text."""
    return any(text.strip() for text in references)


@dataclass(frozen=True)
class _Asked:
    """A row on its way to a prompt."""

    draft: Draft
    tokens: list[int]
    target_length: int | None

    @property
    def example(self) -> Example:
        return self.draft.example


def make_prompts(
    examples: Iterable[Example],
    tokenizer: PreTrainedTokenizerBase,
    config: DataConfig,
    max_new_tokens: int | None = None,
    longest_target: int | None = None,
) -> Prompts:
    """The prompts of a source, or of any examples. `longest_target` is taken when no row has a target of its own; of a
    training table `longest_target` gives it. What is decided or cut is said."""
    use_template(tokenizer, config.chat_template)
    builder = _Builder(tokenizer, config)
    asked = list(builder.asked(examples))
    if not asked:
        raise DataError(f"no prompt to answer: {'; '.join(builder.notes()) or 'there are no rows'}")
    longest = max((row.target_length for row in asked if row.target_length is not None), default=longest_target)
    limit = max_new_tokens or (longest and longest + SPARE)
    if limit is None:
        raise RecipeError(
            "how long may an answer be? No row has a target to go by; set `generation.max_new_tokens`, such as 256"
        )
    reserve = min(limit, longest or limit)
    items = [prompt for row in asked if (prompt := builder.prompt(row, reserve)) is not None]
    notes = builder.notes()
    if max_new_tokens is None:
        notes.insert(0, f"answers may have up to {limit} tokens: the longest target has {longest}")
    for line in notes:
        say(line)
    return Prompts(items, builder.stop_ids({row.example.kind for row in asked}), limit, notes)


def longest_target(table: TokenTable) -> int:
    """The number of tokens of the longest answer in a table, its end of turn included."""
    return max(len(target) for _, target in (prompt_and_target(*table.example(i)) for i in range(len(table))))


def prompt_and_target(tokens: Tokens, supervised: Sequence[bool] | np.ndarray) -> tuple[Tokens, Tokens]:
    """Split an encoded example at its last learned stretch.

    tokens       P  P  a  .  Q  b  c  .        supervised   0  0  1  1  0  1  1  1
    prompt       P  P  a  .  Q                 target       b  c  .
    """
    learned = np.flatnonzero(supervised)
    if not len(learned):
        return tokens[:0], tokens[:0]
    end = int(learned[-1]) + 1
    unlearned = np.flatnonzero(~np.asarray(supervised[:end], dtype=bool))
    begin = int(unlearned[-1]) + 1 if len(unlearned) else 0
    return tokens[:begin], tokens[begin:end]


class _Builder:
    """Everything that turns examples into prompts, and the account of what could not stay whole."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, config: DataConfig) -> None:
        self.config = config
        self.encoder = TextEncoder(tokenizer)
        self.drafter = Drafter(self.encoder, config.learn, config.rewritten_turns == "split")
        self.cut: list[str] = []
        self.skipped: dict[str, list[str]] = {}
        self.room = config.max_length

    def asked(self, examples: Iterable[Example]) -> Iterator[_Asked]:
        """Each row drafted and tokenized, a chunk in one call of the tokenizer."""
        few = isinstance(examples, Sequence) and len(examples) <= _CHUNK  # a bar would only flicker
        stream = iter(examples if few else track(examples, "prompts"))
        while chunk := list(islice(stream, _CHUNK)):
            drafts = [draft for example in chunk if (draft := self._draft(example)) is not None]
            ids = iter(self.encoder.encode([piece for draft in drafts for piece in draft.pieces]))
            for draft in drafts:
                *before, answer = islice(ids, len(draft.pieces))
                target_length = None if draft.example.target is None else len(answer)
                yield _Asked(draft, [token for piece in before for token in piece], target_length)

    def _draft(self, example: Example) -> Draft | None:
        if example.kind == "text":
            raise DataError(
                f"{example.where}: raw text has no prompt to answer; use rows with a prompt (data.format messages, "
                "prompt-completion, dialogue, ...), or measure loss and perplexity, which need none"
            )
        try:
            return self.drafter.asking(example)
        except BadRow as bad:
            self._refuse(example, bad)
            return None

    def _refuse(self, example: Example, bad: BadRow) -> None:
        if self.config.on_bad_row == "error":
            raise DataError(f"{example.where}: {bad} (data.on_bad_row: skip would leave such rows out)") from bad
        self.skipped.setdefault(bad.kind, []).append(str(example.where))

    def prompt(self, row: _Asked, reserve: int) -> Prompt | None:
        """The prompt, its middle cut where it leaves less than `reserve` tokens for the answer."""
        self.room = room = self.config.max_length - reserve
        if room < 1:
            raise RecipeError(
                f"data.max_length {self.config.max_length} leaves no room for a prompt before an answer of {reserve} "
                "tokens; raise data.max_length, or set a smaller generation.max_new_tokens"
            )
        if len(row.tokens) <= room:
            return self._finished(row)
        if self.config.on_long in ("error", "window"):
            raise DataError(
                f"{row.example.where}: a prompt of {len(row.tokens)} tokens, and data.max_length "
                f"{self.config.max_length} less {reserve} for the answer allows {room}; data.on_long: truncate cuts it"
            )
        try:
            return self._finished(self._shorter(row, room))
        except BadRow as bad:
            self._refuse(row.example, bad)
            return None

    def _shorter(self, row: _Asked, room: int) -> _Asked:
        def again(candidate: Example) -> _Asked:
            draft = self.drafter.asking(candidate, alone=row.draft.split)
            before = self.encoder.encode(draft.pieces)[:-1]
            return replace(row, draft=draft, tokens=[token for piece in before for token in piece])

        fitted = fit(row.example, len(row.tokens), room, self.encoder, lambda one: len(again(one).tokens))
        self.cut.append(str(row.example.where))
        return again(fitted.example)

    def _finished(self, row: _Asked) -> Prompt:
        text = self.encoder.plain("".join(piece.text for piece in row.draft.pieces[:-1]))
        return Prompt(row.example.id, row.tokens, text, row.example.references, row.example)

    def stop_ids(self, kinds: set[str]) -> tuple[int, ...]:
        """The end of a chat's turn first, where there is one; then the tokenizer's eos token."""
        eos = self.encoder.tokenizer.eos_token_id
        ends = [self.drafter.template.facts.end_id] if "chat" in kinds else []
        return tuple(dict.fromkeys([*ends, *([] if eos is None else [int(eos)])]))

    def notes(self) -> list[str]:
        lines = [f"not answered: {counted(len(places), 'row')}, {reason} ({_first(places)})"
                 for reason, places in sorted(self.skipped.items())]  # fmt: skip
        if self.cut:
            cut = counted(len(self.cut), "prompt")
            lines.append(f"{cut} cut in the middle to fit into {self.room} tokens ({_first(self.cut)})")
        return lines


def _first(places: Sequence[str]) -> str:
    return f"first: {', '.join(places[:_PLACES])}"
