"""A value head: what it computes, where it reads, and that it is saved and comes back with its model."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from curricle.errors import ModelError
from curricle.models.config import AdapterConfig, ModelConfig
from curricle.models.loading import add_adapter, load_model
from curricle.models.value_head import (
    Kind,
    ValueHead,
    ValueTap,
    add_value_head,
    has_value_head,
    load_value_head,
    read_states,
    saved_kind,
    value_head_of,
)
from support import VOCAB, model

IDS = torch.arange(4, 18).view(2, 7)
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def shaken(head: ValueHead) -> ValueHead:
    """A head that has learned something."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
    return head


def values(net: Any, ids: torch.Tensor = IDS, **inputs: Any) -> torch.Tensor:
    return read_states(net, {"input_ids": ids, **inputs}, ValueTap(net)).value_bt


@pytest.mark.parametrize(("kind", "expected"), [("linear", 0.0), ("bounded", 0.5)])
def test_a_new_head_gives_one_value_everywhere(kind: Kind, expected: float) -> None:
    net = model()
    head = add_value_head(net, kind)
    assert torch.equal(values(net), torch.full((2, 7), expected))
    head.set_value(0.3)
    torch.testing.assert_close(values(net), torch.full((2, 7), 0.3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_score_is_a_norm_and_a_dot_product_in_float32(dtype: torch.dtype) -> None:
    """Against the definition, state by state, in double precision."""
    head = shaken(ValueHead(16, "linear"))
    states = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0)).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        score, old = head(states)
    assert old is None
    for b in range(2):
        for t in range(5):
            x = states[b, t].double()
            normed = x / (x.square().mean() + 1e-6).sqrt() * head.norm.weight.double()
            expected = (normed * head.readout.double()).sum() + head.bias.double()
            torch.testing.assert_close(score[b, t].double(), expected[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma2", "gpt2"])
def test_the_tap_reads_the_trunks_last_state(kind: str) -> None:
    net = model(kind, attn="eager").eval()
    head = shaken(add_value_head(net))
    hidden = net(IDS, output_hidden_states=True).hidden_states[-1]
    torch.testing.assert_close(values(net), head(hidden)[0])


def test_values_of_packed_documents_are_their_own() -> None:
    net = model()
    shaken(add_value_head(net))
    packed = {"position_ids": torch.arange(7).repeat(2)[None], "doc_lens": [7, 7]}
    found = values(net, IDS.view(1, 14), **packed)
    torch.testing.assert_close(found.view(2, 7), values(net))


@pytest.mark.parametrize("moves", [True, False])
def test_what_is_learned_from_values_moves_the_trunk_only_when_it_may(moves: bool) -> None:
    net = model()
    shaken(add_value_head(net))
    read_states(net, {"input_ids": IDS}, ValueTap(net, moves_trunk=moves)).value_bt.sum().backward()
    assert all(parameter.grad is not None for parameter in net.value_head.parameters())
    assert (net.model.layers[0].mlp.up_proj.weight.grad is not None) == moves


def test_an_idle_tap_changes_nothing() -> None:
    net = model()
    plain = net(IDS).logits
    shaken(add_value_head(net))
    tap = ValueTap(net)
    assert torch.equal(net(IDS).logits, plain)
    assert tap.score_bt is None


def test_the_old_head_follows_and_never_learns() -> None:
    head = shaken(ValueHead(8))
    head.keep_old()
    assert head.old is not None
    before = head.readout.clone()
    states = torch.randn(1, 3, 8)
    score, old = head(states)
    assert old is not None
    assert torch.equal(score, old)
    score.sum().backward()
    assert all(parameter.grad is None for parameter in head.old.parameters())
    with torch.no_grad():
        head.readout.add_(1.0)
    head.move_old(0.75)
    torch.testing.assert_close(head.old.readout, before + 0.25)
    head.move_old(1.0)
    torch.testing.assert_close(head.old.readout, before + 0.25)


def test_an_old_head_is_the_head_as_it_is_whenever_one_begins_to_be_kept() -> None:
    head = shaken(ValueHead(8).to(torch.bfloat16))
    head.keep_old()
    shaken(head).keep_old()
    assert head.old is not None
    begun = head.readout.float()
    assert torch.equal(head.old.readout, begun)
    with torch.no_grad():
        head.readout.add_(1.0)
    head.move_old(0.5)
    torch.testing.assert_close(head.old.readout, (begun + head.readout.float()) / 2)


def test_a_head_is_given_once_and_before_the_adapter() -> None:
    net = model()
    assert not has_value_head(net)
    with pytest.raises(ModelError, match="no value head"):
        value_head_of(net)
    add_value_head(net)
    with pytest.raises(ModelError, match="has a value head already"):
        add_value_head(net)
    with pytest.raises(ModelError, match="modules_to_save"):
        add_value_head(add_adapter(model(), AdapterConfig()))


# --- saved and loaded


def saved(net: Any, folder: Path, **how: Any) -> Path:
    net.save_pretrained(folder, **how)
    return folder


@pytest.mark.parametrize("kind", ["linear", "bounded"])
@pytest.mark.parametrize("shard", ["20KB", "1GB"])
def test_a_saved_head_comes_back_with_its_model(tmp_path: Path, kind: Kind, shard: str) -> None:
    net = model()
    shaken(add_value_head(net, kind)).keep_old()
    folder = saved(net, tmp_path, max_shard_size=shard)
    assert saved_kind(folder) == kind
    again = load_model(ModelConfig(name_or_path=str(folder)), attn=net.config._attn_implementation)
    assert torch.equal(values(again), values(net))
    assert value_head_of(again).old is None


def test_our_loader_reports_no_tensor_as_unexpected(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    net = model()
    add_value_head(net)
    folder = saved(net, tmp_path)
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    try:
        load_model(ModelConfig(name_or_path=str(folder)))
        ours = caplog.text
        AutoModelForCausalLM.from_pretrained(folder)
    finally:
        logger.removeHandler(caplog.handler)
    assert "value_head" not in ours
    assert "value_head" in caplog.text  # transformers alone says so, and loads the rest


def test_a_model_of_mixed_precision_keeps_its_head_in_float32(tmp_path: Path) -> None:
    net = model().to(torch.bfloat16)
    head = shaken(add_value_head(net))
    again = load_model(ModelConfig(name_or_path=str(saved(net, tmp_path)), dtype="bfloat16"))
    assert value_head_of(again).readout.dtype == torch.float32
    assert torch.equal(value_head_of(again).readout, head.readout)


def test_folders_without_a_head_say_so(tmp_path: Path) -> None:
    net = model()
    saved(net, tmp_path)
    assert saved_kind(tmp_path) is None
    assert load_value_head(net, tmp_path) is None
    config = ModelConfig(name_or_path=str(tmp_path))
    assert not has_value_head(load_model(config))
    assert value_head_of(load_model(config, value_head="bounded")).kind == "bounded"


def test_an_adapter_saves_the_head_whole_and_leaves_it_without_factors(tmp_path: Path) -> None:
    net = model()
    add_value_head(net, "bounded")
    tuned = add_adapter(net, AdapterConfig(lora_r=4))
    shaken(value_head_of(tuned))
    names = {name for name, parameter in tuned.named_parameters() if parameter.requires_grad}
    assert not any("value_head" in name and "lora" in name for name in names)
    assert sum("value_head" in name for name in names) == 3
    folder = saved(tuned, tmp_path)
    assert saved_kind(folder) == "bounded"
    base = model()
    add_value_head(base, "bounded")
    again = PeftModel.from_pretrained(base, folder)
    torch.testing.assert_close(values(again), values(tuned))
    merged = again.merge_and_unload()
    torch.testing.assert_close(values(merged), values(tuned), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["parallel", "sequential"])
def test_a_multi_token_model_is_read_at_its_trunk(tmp_path: Path, kind: Any) -> None:
    from curricle.models.mtp.making import mtp_config
    from curricle.models.mtp.model import MtpForCausalLM

    torch.manual_seed(0)
    net = MtpForCausalLM(mtp_config(model(num_hidden_layers=3).config, 2, kind)).eval()
    head = shaken(add_value_head(net))
    seen = []
    handle = net.trunk_state.register_forward_hook(lambda part, args, output: seen.append(output))
    found = values(net)
    handle.remove()
    torch.testing.assert_close(found, head(seen[0])[0])
    again = load_model(ModelConfig(name_or_path=str(saved(net, tmp_path))), attn=net.config._attn_implementation)
    torch.testing.assert_close(values(again.eval()), found)


def test_no_token_goes_through_the_output_head() -> None:
    net = model()
    add_value_head(net)
    rows = []
    handle = net.lm_head.register_forward_hook(lambda part, args, logits: rows.append(logits.shape))
    values(net)
    handle.remove()
    assert rows == [(0, VOCAB)]
