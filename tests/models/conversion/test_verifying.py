"""A whole folder is told apart from one that is not; and what a file holds is read from its headers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from curricle.errors import ModelError
from curricle.models.config import ModelConfig
from curricle.models.conversion import Target, convert, inspect_model, verify_model
from curricle.models.loading import load_model
from models.conversion.files import llama, logits, write_folder, write_llama2c, write_meta, write_tokenizer_bin


def test_a_whole_folder_is_said_to_be_whole(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "source", llama())
    text = str(verify_model(source))
    assert text.startswith(f"{source}: whole\n")
    assert "no metadata.json" in text
    convert(source, tmp_path / "mtp", Target(num_future_tokens=2))
    text = str(verify_model(tmp_path / "mtp", source))
    assert "files      5 as metadata.json says" in text
    assert f"as of {source}, but for 0" in text


def test_matrices_are_tried_the_other_way_round_and_left_as_they_were() -> None:
    from curricle.models.conversion import proofs

    model, tokens = llama(num_key_value_heads=4), list(range(3, 20))
    before = logits(model, tokens)

    def tokenizer(text: str) -> dict[str, list[int]]:
        return {"input_ids": [3 + ord(letter) % 300 for letter in text]}

    assert proofs.nothing_turned(model, tokenizer) == 4
    assert torch.equal(logits(model, tokens), before)


def test_a_model_too_large_to_be_tried_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_folder(tmp_path / "source", llama())
    assert "no better the other way round (transposed), in 2 kinds" in str(verify_model(source))
    monkeypatch.setattr("curricle.models.conversion.proofs.TRIED", 100)
    assert "not tried the other way round (transposed): the model is large" in str(verify_model(source))


def test_logits_of_another_model_are_not_its_own(tmp_path: Path) -> None:
    one, other = write_folder(tmp_path / "one", llama()), write_folder(tmp_path / "other", llama(seed=1))
    with pytest.raises(ModelError, match="the logits differ from the source's by"):
        verify_model(one, other)
    smaller = llama(vocab_size=319)
    smaller.save_pretrained(other)
    with pytest.raises(ModelError, match="tokens"):
        verify_model(one, other)


def test_rounding_is_allowed_as_much_as_the_coarser_precision_has(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "source", llama())
    convert(source, tmp_path / "half", Target(dtype="bfloat16"))
    assert "but for 0\n" not in str(verify_model(tmp_path / "half", source)) + "\n"


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "source", llama(vocab_size=300))
    with pytest.raises(ModelError, match="the tokenizer has 320 tokens and the model 300"):
        verify_model(source)


def test_a_source_is_no_folder_to_verify(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="convert it first"):
        verify_model(write_meta(tmp_path / "meta", llama()))


def test_headers_say_what_a_file_holds(tmp_path: Path) -> None:
    write_tokenizer_bin(tmp_path / "tokenizer.bin")
    file = write_llama2c(tmp_path / "model.bin", llama())
    facts = inspect_model(file).facts
    assert (facts["format"], facts["layers"], facts["attention"]) == (
        "llama2.c version 0",
        "3",
        "4 heads, 2 of keys and values, 8 wide",
    )
    count = llama().num_parameters()
    assert facts["parameters"] == f"{count:,}"
    convert(file, tmp_path / "out", Target(dtype="bfloat16"))
    facts = inspect_model(tmp_path / "out").facts
    assert (facts["format"], facts["parameters"]) == ("transformers, safetensors", f"{count:,} saved, BF16")
    assert "llama2.c version 0: model.bin" in facts["source"]


def test_heads_are_seen_in_headers(tmp_path: Path) -> None:
    meta = write_meta(tmp_path / "meta", llama(), [llama(seed=1).model.layers[0]], shards=2)
    facts = inspect_model(meta).facts
    assert facts["layers"] == "3, 2 parallel heads on a trunk of 2"
    before = facts["parameters"]
    convert(meta, tmp_path / "out")
    facts = inspect_model(tmp_path / "out").facts
    assert facts["layers"] == "3, 2 parallel heads on a trunk of 2"
    assert facts["parameters"].startswith(before)
    assert "metadata" in str(inspect_model(tmp_path / "out"))


def test_a_folder_without_weights_is_said_so(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "source", llama())
    (source / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="holds no weights"):
        inspect_model(source)
    with pytest.raises(ModelError, match="holds no weights"):
        verify_model(source)


def test_a_damaged_file_is_said_so(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "source", llama())
    (source / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(ModelError, match="cannot be read"):
        inspect_model(source)
    with pytest.raises(ModelError, match="cannot be read"):
        verify_model(source)
    torch.save({}, source / "pytorch_model.bin")


def test_a_value_head_beside_the_model_is_no_mistake_and_not_taken_along(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from curricle.models.value_head import add_value_head

    model = llama()
    add_value_head(model, "linear")
    source = write_folder(tmp_path / "source", model)
    verify_model(source)
    convert(source, tmp_path / "out")
    assert "left out: value_head." in capsys.readouterr().err
    assert not [name for name in load_file(tmp_path / "out" / "model.safetensors") if "value_head" in name]


def test_a_folder_with_metadata_is_verified_when_it_is_loaded(tmp_path: Path) -> None:
    convert(write_folder(tmp_path / "source", llama()), tmp_path / "out")
    config = ModelConfig(name_or_path=str(tmp_path / "out"))
    load_model(config)
    weights = tmp_path / "out" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    with pytest.raises(ModelError, match=r"model\.safetensors has SHA256 .* damaged or changed"):
        load_model(config)
