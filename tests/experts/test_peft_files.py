"""Adapters that PEFT wrote, read without it: the same change that PEFT makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from curricle.errors import ModelError
from curricle.experts.checkpoint import Checkpoint
from curricle.experts.difference import Factors
from curricle.experts.reading import read_difference
from experts.made import adapter, base, merged

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # PEFT has much to say about embeddings

PLAIN: dict[str, Any] = {}
VARIETIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", PLAIN),
    "qwen2": ("qwen2", PLAIN),
    "mamba2": ("mamba2", PLAIN),
    "mamba": ("mamba", PLAIN),
    "rslora": ("llama", {"use_rslora": True}),
    "patterns": ("llama", {"rank_pattern": {"layers.1.*q_proj": 2}, "alpha_pattern": {"q_proj": 3}}),
    "embedding": ("llama", {"target_modules": ["q_proj", "embed_tokens"]}),
    "whole": ("llama", {"modules_to_save": ["lm_head", "model.norm"]}),
    "biases": ("qwen2", {"bias": "all"}),
    "tied, trained whole": ("tied", {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}),
}


@pytest.mark.parametrize("variety", VARIETIES)
def test_the_change_is_what_peft_makes(variety: str, tmp_path: Path) -> None:
    kind, changes = VARIETIES[variety]
    start = Checkpoint(base(tmp_path / "base", kind))
    folder = adapter(tmp_path / "expert", start.folder, **changes)
    found, expected = read_difference(folder, start), merged(folder, start.folder)
    touched = [name for name in start.names if not expected[name].equal(start.read(name))]
    assert sorted(found.names) == touched
    assert touched
    for name in touched:
        torch.testing.assert_close(found.dense(name), expected[name] - start.read(name), rtol=0, atol=5e-7)


def test_tied_factors_are_one_change(tmp_path: Path) -> None:
    """PEFT's own merge adds such a change twice, once for each end; the adapter as it runs has it once."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    start = Checkpoint(base(tmp_path / "b", "tied"))
    targets = {"target_modules": ["q_proj", "embed_tokens"], "ensure_weight_tying": True}
    folder = adapter(tmp_path / "a", start.folder, **targets)
    found = read_difference(folder, start)
    model = AutoModelForCausalLM.from_pretrained(start.folder)
    tokens = torch.arange(12)[None]
    with torch.no_grad():
        for name in found.names:
            model.get_parameter(name).add_(found.dense(name))
        ours = model(tokens).logits
        theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(start.folder), folder)(tokens).logits
    assert "model.embed_tokens.weight" in found.names
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_factors_stay_factors(tmp_path: Path) -> None:
    start = Checkpoint(base(tmp_path / "base"))
    found = read_difference(adapter(tmp_path / "code", start.folder, modules_to_save=["lm_head"]), start)
    kinds = {name: type(found.part(name)) for name in found.names}
    assert kinds.pop("lm_head.weight") is torch.Tensor
    assert set(kinds.values()) == {Factors}
    assert (found.name, found.base_name, found.base) == ("code", str(start.folder), None)


def test_weights_stored_transposed(tmp_path: Path) -> None:
    """GPT-2's linear layers are inputs x outputs."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    settings = GPT2Config(vocab_size=50, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0)
    GPT2LMHeadModel(settings).save_pretrained(tmp_path / "b")
    start = Checkpoint(tmp_path / "b")
    folder = adapter(tmp_path / "a", tmp_path / "b", target_modules=["c_attn", "c_proj"], fan_in_fan_out=True)
    found, expected = read_difference(folder, start), merged(folder, tmp_path / "b")
    assert len(found.names) == 3
    for name in found.names:
        torch.testing.assert_close(found.dense(name), expected[name] - start.read(name), rtol=0, atol=5e-7)


def test_a_pickle_of_tensors_is_read_and_another_is_not(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a", base(tmp_path / "b"))
    expected = read_difference(folder)
    weights = load_file(folder / "adapter_model.safetensors")
    (folder / "adapter_model.safetensors").unlink()
    torch.save(weights, folder / "adapter_model.bin")
    found = read_difference(folder)
    assert all(found.dense(name).equal(expected.dense(name)) for name in expected.names)
    torch.save({"x": Path("y")}, folder / "adapter_model.bin")
    with pytest.raises(ModelError, match="cannot be read as plain tensors"):
        read_difference(folder)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"peft_type": "IA3"}, "its kind is IA3"),
        ({"use_dora": True}, "DoRA"),
        ({"init_lora_weights": "pissa_niter_4"}, "changes the base's own weights"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"target_parameters": ["experts"]}, "target_parameters"),
    ],
)
def test_other_kinds_are_refused(changes: dict[str, Any], problem: str, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a", base(tmp_path / "b"))
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | changes))
    with pytest.raises(ModelError, match=problem):
        read_difference(folder)


def test_tied_ends_that_came_apart_are_refused(tmp_path: Path) -> None:
    start = Checkpoint(base(tmp_path / "b", "tied"))
    folder = adapter(tmp_path / "a", start.folder, target_modules=["q_proj", "embed_tokens"])
    with pytest.raises(ModelError, match=r"changes model.embed_tokens.weight and lm_head.weight differently"):
        read_difference(folder, start)


def _edit(folder: Path, **changes: torch.Tensor | None) -> None:
    file = folder / "adapter_model.safetensors"
    weights = load_file(file) | {f"base_model.model.{name.replace('__', '.')}": t for name, t in changes.items()}
    save_file({name: tensor for name, tensor in weights.items() if tensor is not None}, file)


LAYER = "model__layers__0__self_attn__q_proj__"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({f"{LAYER}lora_B__weight": None}, r"lacks .*q_proj.lora_B.weight"),
        ({f"{LAYER}lora_magnitude_vector": torch.ones(32)}, "no factor of a plain LoRA adapter"),
        ({f"{LAYER}lora_A__weight": torch.ones(4, 7)}, r"q_proj.weight is \[32, 7\], in the base .* \[32, 32\]"),
        (
            {"model__other__lora_A__weight": torch.ones(4, 7), "model__other__lora_B__weight": torch.ones(7, 4)},
            "not have",
        ),
        ({"model__other__weight": torch.ones(4)}, "has no model.other.weight"),
        ({"model__norm__weight": torch.ones(4)}, r"model.norm.weight is \[4\], in the base \[32\]"),
        ({f"{LAYER}base_layer__weight": torch.ones(32, 32)}, "trained on another base"),
        ({f"{LAYER}lora_A__weight": torch.full((4, 32), float("nan"))}, "q_proj.weight holds NaN"),
    ],
)
def test_what_does_not_fit_names_the_tensor(changes: dict[str, Any], problem: str, tmp_path: Path) -> None:
    start = Checkpoint(base(tmp_path / "b"))
    folder = adapter(tmp_path / "a", start.folder)
    _edit(folder, **changes)
    with pytest.raises(ModelError, match=problem):
        read_difference(folder, start).norm()


def test_tensors_learned_whole_need_the_base(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a", base(tmp_path / "b"), modules_to_save=["lm_head"])
    with pytest.raises(ModelError, match=r"lm_head.weight whole, so its difference needs the base"):
        read_difference(folder)


def test_an_adapter_without_its_file_and_a_file_cut_short(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a", base(tmp_path / "b"))
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"adapter_model.safetensors cannot be read: .* copy it again"):
        read_difference(folder)
    file.unlink()
    with pytest.raises(ModelError, match=r"neither adapter_model.safetensors nor adapter_model.bin"):
        read_difference(folder)
