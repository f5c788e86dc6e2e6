"""A llama cloud and a qwen2 edge with other tokenizers, both saved and loaded; what a prompt gives, with plain PEFT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from curricle.errors import DataError, ModelError
from curricle.models.config import LoraGenConfig, ModelConfig
from curricle.models.loading import load_model
from curricle.models.lora_gen.adapter import merge, write_adapter
from curricle.models.lora_gen.cloud import Cloud
from curricle.models.lora_gen.edge import find_targets
from curricle.models.lora_gen.model import LoraGenModel, load_generator, save_generator
from curricle.models.nano import nano_config, train_tokenizer

PROMPTS = ["answer in one word", "answer like a pirate, at length"]
TOKENS = torch.randint(4, 90, (2, 10), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A cloud and an edge, of other families, widths, depths and vocabularies."""
    from transformers import AutoModelForCausalLM

    made = {}
    for name, kind, size, shape in (
        ("cloud", "llama", 270, {"hidden_size": 48, "num_hidden_layers": 3, "intermediate_size": 96}),
        ("edge", "qwen2", 300, {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64}),
    ):
        torch.manual_seed(len(name))
        tokenizer = train_tokenizer(PROMPTS * 3, size)
        folder = made[name] = tmp_path_factory.mktemp(name)
        AutoModelForCausalLM.from_config(nano_config(kind, size, **shape)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return made


def config_of(folders: dict[str, Path], **changes: Any) -> LoraGenConfig:
    settings = {"cloud": str(folders["cloud"]), "num_experts": 4, "rank": 2, "router_hidden": 8, **changes}
    return LoraGenConfig.model_validate(settings)


def model_of(folders: dict[str, Path], **changes: Any) -> LoraGenModel:
    """With experts that do something: fresh ones add nothing."""
    config = config_of(folders, **changes)
    edge = load_model(ModelConfig(name_or_path=str(folders["edge"])))
    torch.manual_seed(5)
    model = LoraGenModel.fresh(edge, Cloud.load(config), PROMPTS, config).eval()
    with torch.no_grad():
        for up in model.generator.up_ero.values():
            up.normal_(std=0.3)
    return model


def logits(model: Any, **inputs: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=TOKENS, use_cache=False, **inputs).logits


def test_a_fresh_generator_leaves_the_edge_as_it_came(folders: dict[str, Path]) -> None:
    config = config_of(folders)
    edge = load_model(ModelConfig(name_or_path=str(folders["edge"]))).eval()
    before = logits(edge)
    model = LoraGenModel.fresh(edge, Cloud.load(config), PROMPTS, config).eval()
    assert torch.equal(logits(model, prompt_ids=[0, 1]), before)
    assert [name for name, p in model.named_parameters() if p.requires_grad and name.startswith("edge")] == []


def test_each_row_is_read_through_its_own_prompt(folders: dict[str, Path]) -> None:
    model = model_of(folders)
    both, first, second = (logits(model, prompt_ids=ids) for ids in ([0, 1], [0, 0], [1, 1]))
    torch.testing.assert_close(both, torch.stack([first[0], second[1]]))
    assert (first - second).abs().max() > 1e-3
    assert (first - logits(model)).abs().max() > 1e-3


def test_kept_prompts_give_what_a_whole_pass_gives(folders: dict[str, Path]) -> None:
    cloud = Cloud.load(config_of(folders))
    meta_lc = torch.randn(2, cloud.width, requires_grad=True)
    ids = cloud.tokenizer(PROMPTS[1], return_tensors="pt")["input_ids"]
    embedded = torch.cat([cloud.model.get_input_embeddings()(ids), meta_lc[None]], dim=1)
    whole = cloud.model(inputs_embeds=embedded, use_cache=False).last_hidden_state[0, -2:]
    want = torch.autograd.grad(whole.square().sum(), meta_lc)[0]
    for _ in range(2):  # the second time the prompt is not read again
        found = cloud.read(PROMPTS[1], meta_lc)
        torch.testing.assert_close(found, whole)
        torch.testing.assert_close(torch.autograd.grad(found.square().sum(), meta_lc)[0], want, rtol=1e-4, atol=1e-5)


def test_gradients_reach_meta_tokens_router_and_experts_and_nothing_else(folders: dict[str, Path]) -> None:
    model = model_of(folders)
    model(input_ids=TOKENS, prompt_ids=[0, 1], labels=TOKENS, use_cache=False).loss.backward()
    moved = {name.split(".")[1] for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum()}
    assert moved == {"meta_lc", "router", "down_eir", "up_ero"}
    assert (model.generator.meta_lc.grad.abs().sum(1) > 0).all()  # type: ignore[union-attr]
    assert all(p.grad is None for p in model.edge.parameters())
    assert all(p.grad is None for p in model.cloud.model.parameters())


def test_activation_checkpointing_gives_the_same_gradients(folders: dict[str, Path]) -> None:
    found = []
    for checkpointed in (False, True):
        model = model_of(folders).train()
        if checkpointed:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model(input_ids=TOKENS, prompt_ids=[0, 1], labels=TOKENS, use_cache=False).loss.backward()
        found.append({name: p.grad for name, p in model.generator.named_parameters()})
    for name, grad in found[0].items():
        torch.testing.assert_close(grad, found[1][name], msg=name)


def test_an_adapter_loads_with_peft_alone_and_gives_the_same_logits(folders: dict[str, Path], tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = model_of(folders)
    for number, prompt in enumerate(PROMPTS):
        gates_le = model.gates_of([prompt])[0].detach()
        folder = write_adapter(model.edge, model.generator, gates_le, tmp_path / f"{number}", str(folders["edge"]))
        assert sorted(path.name for path in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
        base = AutoModelForCausalLM.from_pretrained(folders["edge"], dtype=torch.float32)
        plain = PeftModel.from_pretrained(base, folder).eval()
        want = logits(model, prompt_ids=[number, number])
        torch.testing.assert_close(logits(plain), want, rtol=1e-5, atol=1e-5)
        merged = merge(
            AutoModelForCausalLM.from_pretrained(folders["edge"], dtype=torch.float32), model.generator, gates_le
        )
        torch.testing.assert_close(logits(merged.eval()), want, rtol=1e-5, atol=1e-5)
    with safe_open(tmp_path / "0" / "adapter_model.safetensors", "pt") as file:
        ranks = {file.get_tensor(name).shape[0] for name in file.keys() if "lora_A" in name}  # noqa: SIM118
    assert ranks == {2 * 2}


def test_a_cloud_with_a_recurrent_state_is_refused() -> None:
    from transformers import AutoModelForCausalLM

    tokenizer = train_tokenizer(PROMPTS, 270)
    mixed = AutoModelForCausalLM.from_config(nano_config("lfm2", 270, layer_types=["conv", "full_attention"]))
    with pytest.raises(ModelError, match="layers of kind conv"):
        Cloud(mixed, tokenizer)


def test_a_saved_generator_is_the_same_one(folders: dict[str, Path], tmp_path: Path) -> None:
    model = model_of(folders)
    save_generator(model.generator, tmp_path / "saved")
    again = load_generator(tmp_path / "saved")
    assert again.layers == model.generator.layers
    for (name, one), other in zip(model.generator.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other), name
    assert set(model.state_dict()) == {f"generator.{name}" for name in again.state_dict()}
    assert not model.load_state_dict(model.state_dict(), strict=False).missing_keys
    with pytest.raises(ModelError, match="no LoRA generator"):
        load_generator(tmp_path)


def test_layers_of_other_widths_have_experts_of_their_own(folders: dict[str, Path]) -> None:
    model = model_of(folders, targets=["o_proj", "k_proj", "down_proj"])
    assert sorted(model.generator.down_eir) == ["down_proj_64x32", "k_proj_32x16", "o_proj_32x32"]
    assert (logits(model, prompt_ids=[0, 1]) - logits(model)).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("targets", "message"),
    [(["gate"], "in 0 of the 2 layers.*down_proj, gate_proj"), (["lm_head"], "no part of a layer")],
)
def test_a_target_that_is_not_there_is_named(folders: dict[str, Path], targets: list[str], message: str) -> None:
    edge = load_model(ModelConfig(name_or_path=str(folders["edge"])))
    with pytest.raises(ModelError, match=message):
        find_targets(edge, targets)


def test_a_generator_of_another_edge_is_refused(folders: dict[str, Path]) -> None:
    model = model_of(folders)
    other = load_model(ModelConfig(name_or_path=str(folders["cloud"])))
    with pytest.raises(ModelError, match="other widths"):
        LoraGenModel(other, model.generator, model.cloud, PROMPTS)


def test_an_empty_prompt_is_refused(folders: dict[str, Path]) -> None:
    model = model_of(folders)
    with pytest.raises(DataError, match="empty"):
        model.gates_of([""])


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"top_k": 9}, "more than num_experts"), ({"targets": ["a", "a"]}, "twice"), ({"targets": []}, "at least 1")],
)
def test_settings_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LoraGenConfig(cloud="x", **changes)


def test_it_does_not_go_with_another_adapter() -> None:
    with pytest.raises(ValueError, match="does not go with model"):
        ModelConfig.model_validate({"name_or_path": "x", "lora_gen": {"cloud": "y"}, "adapter": {}})
