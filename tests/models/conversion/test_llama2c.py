"""llama2.c's files: both versions, tied and not, give the model they were written from; what is wrong is said."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import torch

from curricle.errors import ModelError
from curricle.models.conversion.layout import meta_shapes
from curricle.models.conversion.llama2c import is_llama2c, read_header, read_llama2c
from curricle.models.conversion.reference import reference_logits
from curricle.models.conversion.sources import build
from models.conversion.files import llama, logits, meta_tensors, tokens, write_llama2c

SHAPES = [{}, {"num_key_value_heads": 4}, {"num_key_value_heads": 1, "hidden_size": 24, "intermediate_size": 20}]


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_model_comes_back(tmp_path: Path, version: int, tied: bool, shape: dict[str, int]) -> None:
    model = llama(tied, **shape)
    weights, found = read_llama2c(write_llama2c(tmp_path / "model.bin", model, version))
    assert found == version
    assert weights.shape.tied == tied
    assert weights.tensors.keys() == meta_tensors(model).keys() == meta_shapes(weights.shape).keys()
    again = build(weights)
    assert all(torch.equal(weight, again.state_dict()[name]) for name, weight in model.state_dict().items())
    assert torch.equal(logits(again, tokens()), logits(model, tokens()))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_slow_reading_gives_the_logits_of_transformers(tmp_path: Path, shape: dict[str, int]) -> None:
    model = llama(**shape)
    weights, _ = read_llama2c(write_llama2c(tmp_path / "model.bin", model))
    expected = logits(model, tokens(40))
    torch.testing.assert_close(reference_logits(weights, tokens(40))[:, 0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("theta", [10000.0, 500000.0, 1234.5])
def test_the_base_of_the_rotary_angles_is_read_from_the_tables(tmp_path: Path, theta: float) -> None:
    model = llama(rope_parameters={"rope_type": "default", "rope_theta": theta})
    weights, _ = read_llama2c(write_llama2c(tmp_path / "model.bin", model))
    assert weights.shape.rope_theta == pytest.approx(theta, rel=1e-4)
    torch.testing.assert_close(logits(build(weights), tokens(40)), logits(model, tokens(40)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("change", [-4, 4])
@pytest.mark.parametrize("version", [0, 1])
def test_sizes_fit_to_the_byte(tmp_path: Path, version: int, change: int) -> None:
    path = write_llama2c(tmp_path / "model.bin", llama(), version)
    data = path.read_bytes()
    path.write_bytes(data[:change] if change < 0 else data + bytes(change))
    with pytest.raises(ModelError, match=rf"has {len(data) + change:,} bytes, but its header .* makes {len(data):,}"):
        read_llama2c(path)


def test_numbers_in_another_place_are_seen(tmp_path: Path) -> None:
    """The same size and header, the embedding after everything else."""
    path = write_llama2c(tmp_path / "model.bin", llama(tied=True))
    data = path.read_bytes()
    path.write_bytes(data[:28] + data[1028:] + data[28:1028])
    with pytest.raises(ModelError, match="where its rotary tables should lie are other numbers"):
        read_llama2c(path)


def test_a_quantized_file_is_refused_by_its_version(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(struct.pack("<Ii7i", 0x616B3432, 2, 32, 48, 3, 4, 2, 320, 64).ljust(256, b"\0"))
    with pytest.raises(ModelError, match="version 2; versions 0 and 1, in float32, are read"):
        read_llama2c(path)


@pytest.mark.parametrize("data", [b"", b"text, and nothing else, for a while", bytes(400)])
def test_other_files_are_none_of_its_kind(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(data)
    assert not is_llama2c(path)
    with pytest.raises(ModelError, match=r"no llama2\.c file|too few for a llama2\.c header"):
        read_header(path)
