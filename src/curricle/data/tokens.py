"""Pieces of text to token ids, so that every border between prompt and target is known.

Each piece is tokenized on its own. A tokenizer that puts a space before a text (SentencePiece) would put one before
every piece; such pieces are tokenized behind a line feed, which is then taken away again.

Special tokens that somebody typed into a message are wrapped by `Marker` and become ordinary text here, so that no
message can forge a turn.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Piece(NamedTuple):
    """A stretch of a sample, all of it learned or none."""

    text: str
    learned: bool = False
    begin: tuple[int, ...] = ()
    """Tokens before the text: what the tokenizer itself puts at the start of a document."""
    end: tuple[int, ...] = ()
    """Tokens after the text: the end of the turn or document."""
    first: bool = False
    """Whether the piece begins the sample."""


class Marker:
    """Wraps chosen tokens where they occur in a message, and takes the wrapping off again."""

    def __init__(self, tokens: Iterable[str]) -> None:
        from transformers.utils.chat_template_utils import mark_control_tokens

        longest_first = sorted(tokens, key=len, reverse=True)
        self._found = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        self._wrap = mark_control_tokens

    def __call__(self, text: str) -> str:
        """The text itself when it holds none of the tokens, which is the rule."""
        return self._wrap(text, self._found) if self._found.search(text) else text


class TextEncoder:
    """A tokenizer as the masks need it: no special tokens added unasked, nothing cleaned up, borders kept."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        from transformers.utils.chat_template_utils import mark_control_tokens

        self.tokenizer = tokenizer
        wrapped = mark_control_tokens("x", re.compile("x"))
        self._marks = re.compile(f"[{wrapped[0]}{wrapped[-1]}]")

    @cached_property
    def begin(self) -> tuple[int, ...]:
        """What the tokenizer puts before a document by itself: one beginning-of-sequence token, or nothing."""
        alone = self._ids(["a"])[0]
        with_special = list(self.tokenizer("a")["input_ids"])
        for place in range(len(with_special) - len(alone) + 1):
            if with_special[place : place + len(alone)] == alone:
                return tuple(with_special[:place])
        return ()

    @cached_property
    def _line_feed(self) -> list[int]:
        return self._ids(["\n"])[0]

    @cached_property
    def _adds_space(self) -> bool:
        """Whether a text has other tokens at the start of a document than behind a line feed."""
        alone, behind = self._ids(["a", "\na"])
        return behind != self._line_feed + alone

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        return self.tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)[
            "input_ids"
        ]

    def encode(self, pieces: Sequence[Piece]) -> list[list[int]]:
        """The ids of each piece, `begin` and `end` with them."""
        behind = [self._adds_space and not piece.first for piece in pieces]
        texts = ["\n" + piece.text if moved else piece.text for piece, moved in zip(pieces, behind, strict=True)]
        found = self._ids_with_marks(texts)
        return [self._finish(piece, ids, moved) for piece, ids, moved in zip(pieces, found, behind, strict=True)]

    def _ids_with_marks(self, texts: list[str]) -> list[list[int]]:
        from transformers.utils.chat_template_utils import encode_marked_chat

        marked = [i for i, text in enumerate(texts) if self._marks.search(text)]
        if not marked:
            return self._ids(texts)
        found = self._ids([self.plain(text) for text in texts])
        for i in marked:
            found[i] = encode_marked_chat(self.tokenizer, texts[i])
        return found

    def _finish(self, piece: Piece, ids: list[int], moved: bool) -> list[int]:
        if moved:
            width = len(self._line_feed)
            ids = ids[width:] if ids[:width] == self._line_feed else self._ids([piece.text])[0]
        begin = list(piece.begin)
        if begin and ids[: len(begin)] == begin:  # the text brings its own
            begin = []
        return [*begin, *ids, *piece.end]

    def plain(self, text: str) -> str:
        """The text as it was before `Marker` touched it."""
        return self._marks.sub("", text)

    def count(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text on its own."""
        return [len(ids) for ids in self._ids(texts)]

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Where each token of a text begins and ends, in characters."""
        if self.tokenizer.is_fast:
            return self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)[
                "offset_mapping"
            ]
        num = self.count([text])[0]
        places = [round(i * len(text) / num) for i in range(num + 1)]
        return list(pairwise(places))

    def decode(self, many: Sequence[Sequence[int]]) -> list[str]:
        """Texts of id lists, special tokens shown, nothing tidied."""
        if not many:  # transformers takes an empty list for one text
            return []
        return self.tokenizer.batch_decode(
            [list(ids) for ids in many], skip_special_tokens=False, clean_up_tokenization_spaces=False
        )

    def same_text(self, one: str, other: str) -> bool:
        """Equal up to what the tokenizer's normalizer (Unicode composition, a leading space) does to both."""
        return one == other or self._normal(one) == self._normal(other)

    def _normal(self, text: str) -> str:
        backend: Any = getattr(self.tokenizer, "backend_tokenizer", None)
        normalizer = getattr(backend, "normalizer", None)
        text = normalizer.normalize_str(text) if normalizer is not None else text
        return text.lstrip(" ▁") if self._adds_space else text

    def survives(self, text: str) -> bool:
        """Whether the tokenizer can write a text and read it back; some cannot, for characters they do not know."""
        return self.same_text(self.decode(self._ids([text]))[0], text)
