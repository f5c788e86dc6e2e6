"""A slice has the layers that were asked for, and nothing else is changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from curricle.errors import ModelError
from curricle.models.conversion import Target, convert, slice_model, verify_model
from curricle.models.nano import nano_config
from models.conversion.files import VOCAB, llama, logits, tokens, write_folder


@pytest.mark.parametrize(("layers", "kept"), [([0, -1], [0, 3]), ([1], [1]), ([3, 0, 2], [3, 0, 2])])
def test_the_layers_are_those(tmp_path: Path, layers: list[int], kept: list[int]) -> None:
    source = write_folder(tmp_path / "source", llama(num_hidden_layers=4))
    written = slice_model(source, tmp_path / "out", layers)
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    expected = llama(num_hidden_layers=4)
    expected.model.layers = torch.nn.ModuleList(expected.model.layers[i] for i in kept)
    assert torch.equal(logits(found, tokens()), logits(expected, tokens()))
    assert written.metadata["source"]["layers"] == kept
    assert found.config.num_hidden_layers == len(kept)


def test_what_the_config_says_of_each_layer_goes_along(tmp_path: Path) -> None:
    kinds = ["full_attention", "sliding_attention", "full_attention", "sliding_attention"]
    shape = {"num_hidden_layers": 4, "sliding_window": 4, "use_sliding_window": True, "layer_types": kinds}
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(nano_config("qwen2", VOCAB, **shape)).eval()
    slice_model(write_folder(tmp_path / "source", model), tmp_path / "out", [1, 2])
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert found.config.layer_types == ["sliding_attention", "full_attention"]


def test_heads_stay_on_a_smaller_trunk(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "source", llama(num_hidden_layers=4))
    convert(source, tmp_path / "mtp", Target(num_future_tokens=3))
    slice_model(tmp_path / "mtp", tmp_path / "micro", [0, -1], dtype="float16")
    micro = AutoModelForCausalLM.from_pretrained(tmp_path / "micro").eval()
    assert (micro.config.num_future_tokens, micro.config.num_hidden_layers, micro.dtype) == (3, 2, torch.float16)
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "mtp", dtype=torch.float16).state_dict()
    names = [name for name in micro.state_dict() if name.startswith("extra_heads.")]
    assert len(names) == 18
    assert all(torch.equal(micro.state_dict()[name], whole[name]) for name in names)
    assert logits(micro, tokens(), all_heads=True).shape == (12, 3, VOCAB)
    verify_model(tmp_path / "micro")
    with pytest.raises(ModelError, match="leaves no trunk below it; keep at least 2"):
        slice_model(tmp_path / "mtp", tmp_path / "out", [0])


def test_a_family_that_keeps_its_layers_elsewhere_is_refused(tmp_path: Path) -> None:
    model: Any = AutoModelForCausalLM.from_config(nano_config("gpt2", VOCAB, n_embd=16, n_layer=2, n_head=2))
    with pytest.raises(ModelError, match="does not keep its layers in model"):
        slice_model(write_folder(tmp_path / "source", model), tmp_path / "out", [0])


@pytest.mark.parametrize(
    ("layers", "problem"),
    [([0, 3], "the model has layers 0 to 2"), ([-4], "layers 0 to 2"), ([], "layers 0 to 2"), ([0, -3], "twice")],
)
def test_layers_that_are_not_there_are_refused(tmp_path: Path, layers: list[int], problem: str) -> None:
    source = write_folder(tmp_path / "source", llama())
    with pytest.raises(ModelError, match=problem):
        slice_model(source, tmp_path / "out", layers)
