"""Tokenizers by sentencepiece pieces: llama2.c's `tokenizer.bin` and Meta's `tokenizer.model`, as a fast tokenizer.

Both hold pieces with scores; encoding joins, again and again, the neighbours whose piece has the best score. The merges
of a fast tokenizer say the same: every way to make a piece of two, best score first. What came out is compared with
sentencepiece itself where the file is one of its own.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPACE = "\u2581"
UNKNOWN, START, END = "<unk>", "<s>", "</s>"
PROBES = (
    "Once upon a time, there was a little girl named Lily.",
    "  two  spaces, a tab\tand a\nline; 3.14159 + 42 = x_1",
    "def f(n):\n    return [i ** 2 for i in range(n)]  # squares",
    "옛날 옛적에 토끼와 거북이가 살았습니다.",
    "naïve café — “quoted” 数据 🙂",
)


@dataclass(frozen=True)
class Pieces:
    """Piece i is token i. The first three are unknown, start and end; then bytes, then what was learned."""

    texts: list[str]
    scores: list[float]

    def __post_init__(self) -> None:
        first = tuple(self.texts[:3])
        if first != (UNKNOWN, START, END):
            raise ModelError(f"a Llama tokenizer begins with {UNKNOWN}, {START}, {END}; this one with {list(first)}")


def read_pieces(path: Path) -> Pieces:
    """Of a `tokenizer.bin` or a `tokenizer.model`, told apart by what is in it."""
    data = path.read_bytes()
    return _from_bin(path, data) if _is_bin(data) else _from_sentencepiece(path)


def load_llama_tokenizer(path: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a file, proved against sentencepiece where the file is sentencepiece's."""
    tokenizer = fast_tokenizer(read_pieces(path))
    if not _is_bin(path.read_bytes()):
        _same_as_sentencepiece(path, tokenizer)
    return tokenizer


def fast_tokenizer(pieces: Pieces) -> PreTrainedTokenizerFast:
    """A tokenizer of transformers: a start token, a space before the text, bytes for what no piece covers."""
    from tokenizers import Tokenizer, decoders, models, normalizers, processors
    from transformers import PreTrainedTokenizerFast

    vocab = {text: i for i, text in enumerate(pieces.texts)}
    if len(vocab) < len(pieces.texts):
        twice = sorted({text for text in pieces.texts if pieces.texts.count(text) > 1})
        raise ModelError(f"the tokenizer holds {twice[0]!r} twice, so its tokens cannot be told apart")
    core = Tokenizer(
        models.BPE(vocab=vocab, merges=merges(pieces), unk_token=UNKNOWN, fuse_unk=True, byte_fallback=True)
    )
    core.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    core.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    core.post_processor = processors.TemplateProcessing(
        single=f"{START} $A", pair=f"{START} $A {START} $B", special_tokens=[(START, 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token=UNKNOWN,
        bos_token=START,
        eos_token=END,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


def merges(pieces: Pieces) -> list[tuple[str, str]]:
    """Every pair of pieces that makes a piece, in the order in which sentencepiece would join them."""
    vocab = {text: i for i, text in enumerate(pieces.texts)}
    learned = [i for i, text in enumerate(pieces.texts) if i > 2 and len(text) > 1 and not _is_byte(text)]
    pairs = []
    for i in learned:
        text = pieces.texts[i]
        for cut in range(1, len(text)):
            left, right = text[:cut], text[cut:]
            if left in vocab and right in vocab:
                pairs.append((-pieces.scores[i], vocab[left], vocab[right], left, right))
    return [(left, right) for *_, left, right in sorted(pairs)]


def _is_byte(text: str) -> bool:
    return len(text) == 6 and text.startswith("<0x") and text.endswith(">")


# --- llama2.c


def _is_bin(data: bytes) -> bool:
    """A length of the longest token, a score 0.0, a length 5 and `<unk>`."""
    return data[8:17] == struct.pack("<i", 5) + b"<unk>"


def _from_bin(path: Path, data: bytes) -> Pieces:
    (longest,) = struct.unpack_from("<i", data)
    texts: list[str] = []
    scores, place = [], 4
    while place < len(data):
        if place + 8 > len(data):
            raise ModelError(f"{path} ends inside token {len(texts)}; it is cut short")
        score, length = struct.unpack_from("<fi", data, place)
        piece = data[place + 8 : place + 8 + max(length, 0)]
        if not 0 <= length == len(piece):
            raise ModelError(f"{path} says that token {len(texts)} has {length} bytes; it has {len(piece)}")
        try:
            texts.append(_written(piece.decode("utf-8")))
        except UnicodeDecodeError as error:
            raise ModelError(f"{path}: token {len(texts)} is {piece!r}, which is no UTF-8") from error
        scores.append(score)
        place += 8 + length
    if not 0 < longest <= max(1024, max(len(text.encode()) for text in texts) * 4):
        raise ModelError(f"{path} says that its longest token has {longest} bytes; it is no llama2.c tokenizer")
    return Pieces(texts, scores)


def _written(text: str) -> str:
    """llama2.c writes spaces for sentencepiece's mark, and a line feed around the two special tokens."""
    return text.strip("\n") if text.strip("\n") in (START, END) else text.replace(" ", SPACE)


# --- sentencepiece


def _from_sentencepiece(path: Path) -> Pieces:
    spm = _processor(path)
    size = spm.get_piece_size()
    return Pieces([spm.id_to_piece(i) for i in range(size)], [spm.get_score(i) for i in range(size)])


def _processor(path: Path):  # type: ignore[no-untyped-def]  # the library has no types
    from sentencepiece import SentencePieceProcessor

    try:
        return SentencePieceProcessor(model_file=str(path))
    except (RuntimeError, OSError) as error:
        raise ModelError(
            f"{path} is no sentencepiece model and no tokenizer.bin of llama2.c; the tokenizer.model of Llama 3 is "
            "another format: take the tokenizer.json that comes with the same model for transformers"
        ) from error


def _same_as_sentencepiece(path: Path, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str] = PROBES) -> None:
    spm = _processor(path)
    for text in texts:
        theirs, ours = spm.encode(text), tokenizer(text, add_special_tokens=False)["input_ids"]
        if theirs != ours:
            raise ModelError(
                f"{path} cannot be turned into a fast tokenizer: sentencepiece reads {text[:30]!r} as {theirs[:8]}..., "
                f"the fast one as {ours[:8]}...; only BPE models without a normalizer can"
            )
