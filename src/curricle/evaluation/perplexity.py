"""Perplexity: exp(sum of -log p / number of predicted tokens), the same for every batch size and packing.

Of answers: the supervised tokens of a table, given their prompts. Of texts: every token of a text, prompts included,
read in windows where a text is longer than one.

A text of 10 tokens, `context` 6, `stride` 3; each token is scored once, the rest of its window is context:

    <s> b c d e f                scores b c d e f
          d e f g h i            scores g h i
                g h i j          scores j

Without a stride each window scores all it can, and shares one token with the window before: the one that g follows.

    <s> b c d e f                scores b c d e f
                f g h i j        scores g h i j

Perplexities of two tokenizers cannot be compared, since they count other tokens. Bits per byte can: the information
the model needs for the text, over the text's bytes in UTF-8. The end of a document is no text and has no part in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..data.rows import Rows
from ..data.schema import Example
from ..data.table import EncodedExample, TokenTable
from ..data.tokens import Piece, TextEncoder
from ..errors import DataError, RecipeError
from ..models.likelihood import TokenValues, max_positions, token_losses_of
from .score import Score

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

LARGEST = 700.0
"""exp of more is no float."""


def answer_perplexity(model: nn.Module, table: TokenTable, rows: Rows, *, batch_size: int = 1) -> list[Score]:
    """Loss and perplexity of the supervised tokens of a table: the answers, given their prompts."""
    losses = token_losses_of(model, table, rows, batch_size=batch_size)
    return loss_and_perplexity(losses.sums(), losses.counts, "mean over answer tokens, end of turn included")


def loss_and_perplexity(sums: np.ndarray, counts: np.ndarray, note: str) -> list[Score]:
    """Both, from each example's summed loss and number of tokens."""
    if not counts.sum():
        raise DataError("no token to score: none of the examples has a token that something comes before")
    means, loss = sums / np.maximum(counts, 1), float(sums.sum() / counts.sum())
    perplexity, unit = math.exp(min(loss, LARGEST)), "tokens"
    return [
        Score("loss", loss, means, counts, higher_is_better=False, note=note, unit=unit),
        Score("perplexity", perplexity, means, counts, "exp", higher_is_better=False, note=note, unit=unit),
    ]


# ---- texts ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Document:
    """A text as the model reads it."""

    tokens: list[int]
    first: int
    """The first token that is scored."""
    num_bytes: int
    """Of the text that is scored, in UTF-8."""
    ended: bool
    """The last token is the end of the document."""


def whole_text(example: Example) -> str:
    """Everything a row says, prompt and answer, without any template."""
    if example.kind == "text":
        return example.text or ""
    if example.kind == "plain":
        return (example.prompt or "") + (example.completion or "")
    return "\n".join(message.content for message in example.messages)


def text_perplexity(
    model: nn.Module,
    texts: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    rows: Rows,
    *,
    context: int | None = None,
    stride: int | None = None,
    eos: bool = True,
    batch_size: int = 1,
) -> list[Score]:
    """Perplexity and bits per byte of whole texts. `context` and `stride` are lengths in tokens; see the drawing above.

    `context` is by default what a row holds, or what the model was made for, if that is less.
    """
    width = _width(context, rows, max_positions(model))
    if stride is not None and stride > width:
        raise RecipeError(f"perplexity: stride {stride} is longer than context {width}: text between would be lost")
    step = min(stride or width, width - 1)
    documents = read_documents(texts, tokenizer, eos=eos)
    losses = _document_losses(model, documents, rows, (width, step), batch_size)
    note = _note(width, step, tokenizer, documents)
    perplexity = loss_and_perplexity(losses.sums(), losses.counts, note)[1]
    return [perplexity, _bits_per_byte(losses, documents, note)]


def read_documents(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, *, eos: bool = True) -> list[Document]:
    """Texts to tokens, as in training: what the tokenizer puts before a document, the text, its end if asked."""
    encoder = TextEncoder(tokenizer)
    end_text, end_id = tokenizer.eos_token, tokenizer.eos_token_id
    end = (end_id,) if eos and end_id is not None else ()
    texts = [text.removesuffix(end_text) if end_text else text for text in texts]
    many = encoder.encode([Piece(text, True, encoder.begin, end, first=True) for text in texts])
    return [_document(encoder, text, tokens, bool(end)) for text, tokens in zip(texts, many, strict=True)]


def _document(encoder: TextEncoder, text: str, tokens: list[int], ended: bool) -> Document:
    """Where nothing comes before the text, its first token cannot be foreseen. Scoring begins at the next character,
    which is more than a token later where the first tokens are parts of one character."""
    if encoder.begin:
        return Document(tokens, len(encoder.begin), len(text.encode()), ended)
    places = encoder.offsets(text)
    if not places:
        return Document(tokens, len(tokens), 0, False)
    border = places[0][1]
    first = next((i for i, (start, _) in enumerate(places) if i and start >= border), len(places))
    return Document(tokens, first, len(text[border:].encode()), ended)


def windows(length: int, first: int, width: int, step: int) -> Iterator[tuple[int, int, int]]:
    """(begin, end, first scored) of each window of a text, as the module's drawing shows."""
    scored, begin = first, 0
    while scored < length:
        end = min(begin + width, length)
        if end > scored:
            yield begin, end, scored
            scored = end
        begin += step


def _document_losses(
    model: nn.Module, documents: Sequence[Document], rows: Rows, shape: tuple[int, int], batch_size: int
) -> TokenValues:
    """The losses of each document's scored tokens: its windows lie side by side, in order."""
    examples = []
    for number, document in enumerate(documents):
        for begin, end, scored in windows(len(document.tokens), document.first, *shape):
            tokens = np.array(document.tokens[begin:end], dtype=np.uint32)
            examples.append(EncodedExample(f"{number}", tokens, np.arange(begin, end) >= scored))
    if not examples:
        raise DataError(f"no token to score: all {len(documents)} texts are empty, or a single token")
    wide = replace(rows, max_length=max(rows.max_length, shape[0]), source_weights=None)
    losses = token_losses_of(model, TokenTable.from_examples(examples), wide, batch_size=batch_size)
    counts = [max(0, len(document.tokens) - document.first) for document in documents]
    return TokenValues(losses.values, np.concatenate([[0], np.cumsum(counts)]))


def _bits_per_byte(losses: TokenValues, documents: Sequence[Document], note: str) -> Score:
    nats, sizes = losses.sums(), np.array([document.num_bytes for document in documents])
    for i, document in enumerate(documents):
        if document.ended:
            nats[i] -= losses.of(i)[-1]
    bits = nats / math.log(2)
    value = float(bits.sum() / max(1, sizes.sum()))
    note += "; bytes of UTF-8, the end of a document not counted"
    each = bits / np.maximum(sizes, 1)
    return Score("bits_per_byte", value, each, sizes, higher_is_better=False, note=note, unit="bytes")


def _width(context: int | None, rows: Rows, limit: int | None) -> int:
    if context is not None and limit is not None and context > limit:
        raise RecipeError(f"perplexity: context is {context}, and the model was made for {limit} tokens at most")
    width = context or min(rows.max_length, limit or rows.max_length)
    if width < 2:
        raise RecipeError(f"perplexity: a window of {width} token foresees nothing; set context to 2 or more")
    return width


def _note(width: int, step: int, tokenizer: PreTrainedTokenizerBase, documents: Sequence[Document]) -> str:
    begin = TextEncoder(tokenizer).begin
    first = f"first token scored after {tokenizer.decode(list(begin))}" if begin else "first token not scored"
    end = "scored" if any(document.ended for document in documents) else "not scored"
    return f"windows of {width} tokens that move on by {step}; {first}; end of document {end}"
