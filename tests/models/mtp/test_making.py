"""Heads given to a model from nothing, to one that is loaded, and by a recipe; and what no model can be made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from transformers import AutoModelForCausalLM

import support
from curricle.errors import ModelError
from curricle.models.config import ModelConfig
from curricle.models.loading import load_model, model_settings
from curricle.models.mtp.making import add_heads, mtp_config, plain_state, scratch_config
from curricle.models.mtp.model import MtpForCausalLM
from curricle.models.nano import nano_config
from curricle.models.value_head import add_value_head, has_value_head

torch.set_num_threads(1)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    support.model(num_hidden_layers=3).save_pretrained(tmp_path / "plain")
    return tmp_path / "plain"


def config(name: Path | str, **changes: Any) -> ModelConfig:
    return ModelConfig(name_or_path=str(name), **changes)


@pytest.mark.parametrize("family", ["llama", "qwen2", "phi3"])
def test_a_model_from_scratch_has_as_many_numbers_whatever_its_heads(family: str) -> None:
    sizes = set()
    for heads in (1, 2, 4, 6):
        settings = scratch_config(nano_config(family, support.VOCAB, num_hidden_layers=7), heads)
        model: Any = AutoModelForCausalLM.from_config(settings)
        assert len(model.model.layers) + len(model.extra_heads) == 7
        sizes.add(model.num_parameters())
    assert len(sizes) == 1


@pytest.mark.parametrize(("layers", "heads"), [(4, 4), (2, 2), (2, 4), (1, 1)])
def test_heads_that_leave_no_trunk_are_refused(layers: int, heads: int) -> None:
    family = nano_config("llama", support.VOCAB, num_hidden_layers=layers)
    with pytest.raises(ModelError, match=rf"leave no trunk.*{layers} in all; give it at least {heads + 1} "):
        scratch_config(family, heads)


def test_a_trunk_of_one_layer_is_enough() -> None:
    family = nano_config("llama", support.VOCAB, num_hidden_layers=5)
    model: Any = AutoModelForCausalLM.from_config(scratch_config(family, 4))
    assert model(input_ids=torch.arange(6)[None], all_heads=True).logits.shape == (1, 6, 4, support.VOCAB)


def test_a_loaded_model_of_one_layer_has_no_trunk_for_more_heads() -> None:
    with pytest.raises(ModelError, match="leave no trunk: the plain model would have 1 layers"):
        add_heads(support.model(num_hidden_layers=1), 2)
    assert add_heads(support.model(num_hidden_layers=1), 2, "sequential").config.num_extra_heads == 1


def test_a_micro_model_with_a_vocabulary_of_32000_is_smaller_than_50_megabytes() -> None:
    """The source's (512 wide, 4 layers, 4 heads) has 58 to 91 MB, and no trunk."""
    shape = {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 8, "num_attention_heads": 8}
    with torch.device("meta"):
        settings = scratch_config(nano_config("llama", 32000, **shape), 4)
        model: Any = AutoModelForCausalLM.from_config(settings, dtype=torch.float16)
    assert model.get_memory_footprint() == pytest.approx(27.5e6, rel=0.01)
    assert len(model.model.layers) - 1 == 4


def test_other_families_are_refused_by_name() -> None:
    with pytest.raises(ModelError, match=r"asked of a gemma2 model; .*llama, mistral, qwen2, qwen3, olmo2, phi3$"):
        mtp_config(nano_config("gemma2", support.VOCAB, num_hidden_layers=4), 2)


def test_heads_are_added_without_a_second_copy_of_the_model() -> None:
    plain = support.model(num_hidden_layers=3).eval()
    model = add_heads(plain, 3)
    assert model.model is plain.model
    assert model.lm_head is plain.lm_head
    assert not model.training
    assert not any(parameter.is_meta for parameter in model.parameters())
    pointers = [parameter.data_ptr() for parameter in model.parameters()]
    assert len(set(pointers)) == len(pointers)
    assert plain_state(model).keys() == plain.state_dict().keys()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_added_heads_have_the_precision_of_the_model(dtype: torch.dtype, tmp_path: Path) -> None:
    for kind in ("parallel", "sequential"):
        model = add_heads(support.model(num_hidden_layers=2).to(dtype), 3, kind)  # type: ignore[arg-type]
        assert {parameter.dtype for parameter in model.parameters()} == {dtype}
        model.save_pretrained(tmp_path)
        again: Any = AutoModelForCausalLM.from_pretrained(tmp_path)
        assert {parameter.dtype for parameter in again.parameters()} == {dtype}


def test_a_value_head_comes_after_the_heads() -> None:
    plain = support.model(num_hidden_layers=3)
    add_value_head(plain)
    with pytest.raises(ModelError, match="with heads it reads the trunk: add it after"):
        add_heads(plain, 2)
    model = add_heads(support.model(num_hidden_layers=3), 2)
    add_value_head(model)
    assert all(name.startswith(("model.", "lm_head.")) for name in plain_state(model))


def test_a_saved_value_head_that_reads_the_last_layer_gets_no_heads_beside_it(saved: Path, tmp_path: Path) -> None:
    plain: Any = load_model(config(saved), value_head="bounded")
    plain.save_pretrained(tmp_path / "critic")
    with pytest.raises(ModelError, match="with heads it reads the trunk: add it after"):
        load_model(config(tmp_path / "critic", mtp={"num_future_tokens": 2}))
    several = load_model(config(saved, mtp={"num_future_tokens": 2}), value_head="bounded")
    several.save_pretrained(tmp_path / "both")
    again: Any = load_model(config(tmp_path / "both", mtp={"num_future_tokens": 2}))
    assert has_value_head(again)


def test_head_1_is_loaded_back_as_a_plain_model(saved: Path, tmp_path: Path) -> None:
    model, ids = load_model(config(saved, mtp={"num_future_tokens": 3})), torch.arange(4, 12)[None]
    plain: Any = AutoModelForCausalLM.from_config(model.config.family)
    plain.load_state_dict(plain_state(model))  # type: ignore[arg-type]
    assert torch.equal(plain.eval()(input_ids=ids).logits, model(input_ids=ids).logits)


# --- `model.mtp` of a recipe


def test_a_nano_model_keeps_its_size() -> None:
    shape = {"num_hidden_layers": 6, "vocab_size": 300}
    plain = load_model(config("nano:llama", shape=shape))
    model = load_model(config("nano:llama", shape=shape, mtp={}))
    assert isinstance(model, MtpForCausalLM)
    assert model.config.num_future_tokens == 4
    assert model.num_parameters() == plain.num_parameters()


def test_a_saved_model_gets_heads_and_keeps_them(saved: Path, tmp_path: Path) -> None:
    asked = {"num_future_tokens": 3, "kind": "sequential", "mtp_lambda": 0.1}
    model: Any = load_model(config(saved, mtp=asked))
    assert model.config.coefficients == pytest.approx([1.0, 0.05, 0.05])
    model.save_pretrained(tmp_path / "several")
    for mtp in (None, asked):
        again: Any = load_model(config(tmp_path / "several", mtp=mtp))
        assert all(torch.equal(one, other) for one, other in zip(model.parameters(), again.parameters(), strict=True))
    assert load_model(config(tmp_path / "several", mtp={**asked, "mtp_lambda": 1.0})).config.mtp_lambda == 1.0


def test_what_is_random_in_new_heads_follows_from_the_seed(saved: Path) -> None:
    def projection(seed: int) -> torch.Tensor:
        model: Any = load_model(config(saved, mtp={"kind": "sequential", "num_future_tokens": 2}), seed=seed)
        weight: torch.Tensor = model.extra_heads[0].eh_proj.weight
        return weight

    assert torch.equal(projection(1), projection(1))
    assert not torch.equal(projection(1), projection(2))


def test_other_heads_than_a_model_has_are_refused(saved: Path, tmp_path: Path) -> None:
    load_model(config(saved, mtp={"num_future_tokens": 3})).save_pretrained(tmp_path / "several")
    with pytest.raises(ModelError, match=r"asks for 2 parallel heads, and .* has 3 parallel ones already"):
        load_model(config(tmp_path / "several", mtp={"num_future_tokens": 2}))


@pytest.mark.parametrize("mtp", [None, {"num_future_tokens": 3}])
def test_a_models_settings_are_known_without_its_weights(saved: Path, mtp: dict[str, Any] | None) -> None:
    settings = model_settings(config(saved, mtp=mtp))
    assert settings.model_type == ("llama" if mtp is None else "curricle_mtp")
    assert (settings.num_hidden_layers, settings.vocab_size) == (3, support.VOCAB)


@pytest.mark.parametrize(
    "wrong", [{"num_future_tokens": 0}, {"kind": "both"}, {"mtp_lambda": -1}, {"num_heads": 4}], ids=str
)
def test_keys_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config("nano:llama", mtp=wrong)
