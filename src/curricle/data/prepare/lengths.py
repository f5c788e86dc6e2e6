"""How long rows are as they will be trained on: under the chat template, with its headers and the end of the turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..config import DataConfig
from ..dialogue import DialoguePrompt
from ..drafts import Drafter
from ..formats import Layout, read_row
from ..schema import Where
from ..templates import use_template
from ..tokens import TextEncoder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TemplatedLength:
    """Counts tokens of rows in the format `alpaca`, exactly as `data:` of a recipe encodes them."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, chat_template: str | None) -> None:
        use_template(tokenizer, chat_template)
        self._encoder = TextEncoder(tokenizer)
        self._drafter = Drafter(self._encoder, "last_turn", split_rewritten=False)
        self._layout = Layout("alpaca", DialoguePrompt.of(DataConfig(train="rows.jsonl")))

    def __call__(self, rows: Sequence[dict[str, Any]]) -> list[int]:
        """Tokens of each row. The rows of one problem share their prompt, which is tokenized once."""
        drafts = [self._drafter.drafts(read_row(row, self._layout, Where("", 0)))[0] for row in rows]
        unique = list(dict.fromkeys(piece for draft in drafts for piece in draft.pieces))
        lengths = {piece: len(ids) for piece, ids in zip(unique, self._encoder.encode(unique), strict=True)}
        return [sum(lengths[piece] for piece in draft.pieces) for draft in drafts]
