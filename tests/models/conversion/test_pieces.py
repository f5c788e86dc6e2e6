"""The fast tokenizer of a piece file reads text as sentencepiece does, and says so where it cannot."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import sentencepiece

from curricle.errors import ModelError
from curricle.models.conversion.pieces import PROBES, Pieces, load_llama_tokenizer, read_pieces
from models.conversion.files import sentencepiece_model, write_tokenizer_bin, write_tokenizer_model

TEXTS = [*PROBES, "", " a", "the the  the", "🙂🙂", "a\n\nb", "Once" * 20]


@pytest.mark.parametrize("write", [write_tokenizer_bin, write_tokenizer_model])
def test_ids_are_those_of_sentencepiece(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    spm = sentencepiece.SentencePieceProcessor(model_proto=sentencepiece_model())
    tokenizer = load_llama_tokenizer(write(tmp_path / "tokenizer"))
    for text in TEXTS:
        ids = tokenizer(text)["input_ids"]
        assert ids == [1, *spm.encode(text)]
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (1, 2, 0)


def test_both_files_hold_the_same_pieces(tmp_path: Path) -> None:
    one, other = read_pieces(write_tokenizer_bin(tmp_path / "a")), read_pieces(write_tokenizer_model(tmp_path / "b"))
    assert one.texts == other.texts
    assert one.scores == pytest.approx(other.scores)


def test_it_is_saved_and_loaded_as_any_other(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = load_llama_tokenizer(write_tokenizer_model(tmp_path / "tokenizer.model"))
    tokenizer.save_pretrained(tmp_path / "saved")
    again = AutoTokenizer.from_pretrained(tmp_path / "saved")
    for text in TEXTS:
        assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
        assert again.decode(again(text)["input_ids"], skip_special_tokens=True) == text


def test_a_tokenizer_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = write_tokenizer_model(tmp_path / "tokenizer.model", "unigram")
    with pytest.raises(ModelError, match="only BPE models without a normalizer can"):
        load_llama_tokenizer(path)


@pytest.mark.parametrize("data", [b"IQ== 0\nIg== 1\n", b"{}"])
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    """The first is what the tokenizer.model of Llama 3 looks like."""
    (tmp_path / "tokenizer.model").write_bytes(data)
    with pytest.raises(ModelError, match=r"take the tokenizer\.json that comes with the same model"):
        load_llama_tokenizer(tmp_path / "tokenizer.model")


@pytest.mark.parametrize(
    ("cut", "problem"), [(-1, "says that token 319 has"), (-9, "ends inside token|says that token")]
)
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, cut: int, problem: str) -> None:
    path = write_tokenizer_bin(tmp_path / "tokenizer.bin")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ModelError, match=problem):
        read_pieces(path)


def test_a_piece_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = write_tokenizer_bin(tmp_path / "tokenizer.bin")
    path.write_bytes(path.read_bytes() + struct.pack("<fi", -1.0, 2) + b"\xff\xfe")
    with pytest.raises(ModelError, match="which is no UTF-8"):
        read_pieces(path)


def test_the_first_three_are_unknown_start_and_end() -> None:
    with pytest.raises(ModelError, match="begins with <unk>, <s>, </s>"):
        Pieces(["<pad>", "<s>", "</s>"], [0.0, 0.0, 0.0])
