"""Saved models come back whole, with LoRA or not; every mistake is one line naming the file or key."""

from __future__ import annotations

import importlib.util
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from transformers import PreTrainedModel

from curricle.errors import MissingExtra, ModelError
from curricle.models.attention import PACKED
from curricle.models.config import AdapterConfig, ModelConfig
from curricle.models.loading import add_adapter, load_model, load_tokenizer, model_settings, refuse_prompt_learning
from curricle.models.nano import train_tokenizer

TEXTS = ["Anna and Ben talk about the lake.", "안녕하세요, 오늘 회의는 세 시입니다."] * 4


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama with its tokenizer, in a folder."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = train_tokenizer(TEXTS, 300)
    tokenizer.save_pretrained(folder)
    load_model(ModelConfig(name_or_path="nano:llama"), tokenizer=tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def config(folder: Path | str, **changes: Any) -> ModelConfig:
    return ModelConfig(name_or_path=str(folder), **changes)


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(("dtype", "expected"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_a_folder_comes_back_in_the_asked_precision(saved: Path, dtype: Any, expected: torch.dtype) -> None:
    model = load_model(config(saved, dtype=dtype), attn=PACKED)
    assert isinstance(model, PreTrainedModel)
    assert {p.dtype for p in model.parameters()} == {expected}
    assert model.config._attn_implementation == PACKED


def test_auto_precision_is_the_saved_one(saved: Path, tmp_path: Path) -> None:
    load_model(config(saved, dtype="bfloat16")).save_pretrained(tmp_path)
    assert load_model(config(tmp_path, dtype="auto")).dtype == torch.bfloat16
    assert load_model(config(tmp_path)).dtype == torch.float32


def test_our_attention_is_not_written_into_what_is_saved(saved: Path, tmp_path: Path) -> None:
    load_model(config(saved), attn=PACKED).save_pretrained(tmp_path)
    assert PACKED not in (tmp_path / "config.json").read_text()


def test_settings_without_weights(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    assert model_settings(config(copy)).model_type == "llama"
    assert model_settings(config("nano:qwen2", shape={"hidden_size": 32})).hidden_size == 32


# --- nano models


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_nano_models_follow_from_the_seed(kind: str, tmp_path: Path) -> None:
    asked = config(f"nano:{kind}", shape={"hidden_size": 32, "num_hidden_layers": 1, "vocab_size": 300})
    tokenizer = load_tokenizer(asked, folder=tmp_path / "tokenizer", texts=lambda: TEXTS)
    state = torch.random.get_rng_state()
    one, same, other = (load_model(asked, tokenizer=tokenizer, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (one.config.hidden_size, one.config.num_hidden_layers, one.config.vocab_size) == (32, 1, len(tokenizer))
    assert (one.config.pad_token_id, one.config.eos_token_id) == (tokenizer.pad_token_id, tokenizer.eos_token_id)
    for (name, a), b in zip(one.state_dict().items(), same.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert not torch.equal(one.get_input_embeddings().weight, other.get_input_embeddings().weight)


def test_a_nano_tokenizer_is_trained_once_and_kept(tmp_path: Path) -> None:
    asked, folder = config("nano:llama", shape={"vocab_size": 300}), tmp_path / "tokenizer"
    first = load_tokenizer(asked, folder=folder, texts=lambda: TEXTS)
    again = load_tokenizer(asked, folder=folder)
    assert again.get_vocab() == first.get_vocab()
    assert again.chat_template == first.chat_template
    assert len(first) == 300
    text = "호수 and nothing seen before: ß"
    assert again.decode(again(text, add_special_tokens=False)["input_ids"]) == text


def test_of_several_that_want_a_nano_tokenizer_one_trains_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURRICLE_CACHE", str(tmp_path / "cache"))
    asked, folder, trained = config("nano:llama", shape={"vocab_size": 300}), tmp_path / "tokenizer", []
    begin = threading.Barrier(3)

    def texts() -> list[str]:
        trained.append(1)
        return TEXTS

    def want(_: int) -> int:
        begin.wait()
        return len(load_tokenizer(asked, folder=folder, texts=texts))

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(want, range(3))) == [300] * 3
    assert trained == [1]


def test_nano_mistakes(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="`texts`"):
        load_tokenizer(config("nano:llama"), folder=tmp_path)
    with pytest.raises(ModelError, match="`folder`"):
        load_tokenizer(config("nano:llama"), texts=lambda: TEXTS)
    with pytest.raises(ModelError, match="did you mean `llama`"):
        load_model(config("nano:lama"))
    with pytest.raises(ModelError, match="did you mean `hidden_size`"):
        load_model(config("nano:llama", shape={"hiden_size": 32}))
    with pytest.raises(ModelError, match="cannot be made"):
        load_model(config("nano:llama", shape={"hidden_size": 33}))


# --- adapters


def test_lora_trains_its_factors_and_what_is_asked_beside(saved: Path) -> None:
    adapter = AdapterConfig(lora_r=4, lora_alpha=8, lora_target_modules=["q_proj"], modules_to_save=["lm_head"])
    model = load_model(config(saved, adapter=adapter))
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {"lora_" if "lora_" in name else name.split(".")[-4] for name in trained} == {"lora_", "embed_tokens"}
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight  # still tied
    lora = next(iter(model.peft_config.values()))
    assert (lora.r, lora.lora_alpha, lora.target_modules) == (4, 8, {"q_proj"})


def test_lora_factors_follow_from_the_seed(saved: Path) -> None:
    asked = config(saved, adapter=AdapterConfig())
    one, same, other = (dict(load_model(asked, seed=seed).named_parameters()) for seed in (1, 1, 2))
    name = next(name for name in one if "lora_A" in name)
    assert torch.equal(one[name], same[name])
    assert not torch.equal(one[name], other[name])


def test_a_layer_that_is_not_there_names_those_that_are(saved: Path) -> None:
    with pytest.raises(ModelError, match="q_proj") as error:
        load_model(config(saved, adapter=AdapterConfig(lora_target_modules=["qproj"])))
    assert "qproj" in one_line(error)


def test_prompt_learning_is_refused(saved: Path) -> None:
    from peft import PromptTuningConfig, get_peft_model

    prompted = get_peft_model(
        load_model(config(saved)), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    )
    with pytest.raises(ModelError, match="virtual tokens"):
        refuse_prompt_learning(prompted)
    refuse_prompt_learning(load_model(config(saved, adapter=AdapterConfig())))
    refuse_prompt_learning(load_model(config(saved)))


def test_four_bit_weights_need_their_extra_or_work(saved: Path) -> None:
    asked = config(saved, adapter=AdapterConfig(), quantization="nf4", dtype="bfloat16")
    if importlib.util.find_spec("bitsandbytes") is None:
        with pytest.raises(MissingExtra, match=r"pip install 'curricle\[qlora\]'") as error:
            load_model(asked)
        one_line(error)
        return
    model = load_model(asked)
    model(input_ids=torch.arange(5, 15)[None], labels=torch.arange(5, 15)[None]).loss.backward()
    assert {type(p).__name__ for p in model.parameters()} >= {"Params4bit"}
    assert {name.split(".")[-3] for name, p in model.named_parameters() if p.grad is not None} == {"lora_A", "lora_B"}


# --- mistakes


@pytest.mark.parametrize(
    ("absent", "load", "message"),
    [
        ("model.safetensors", load_model, "holds no weights: looked for model.safetensors"),
        ("config.json", load_model, "holds no config"),
        ("tokenizer.json", load_tokenizer, "holds no tokenizer"),
    ],
)
def test_a_missing_file_is_named(copy: Path, absent: str, load: Any, message: str) -> None:
    (copy / absent).unlink()
    with pytest.raises(ModelError, match=message) as error:
        load(config(copy))
    assert str(copy) in one_line(error)


def test_a_missing_shard_is_named(copy: Path) -> None:
    load_model(config(copy)).save_pretrained(copy / "shards", max_shard_size="200KB")
    shard = sorted((copy / "shards").glob("model-*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(ModelError, match=f"lacks {shard.name}"):
        load_model(config(copy / "shards"))


def test_pickled_weights_are_not_opened(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickles"):
        load_model(config(copy))


def test_an_adapter_folder_is_no_model(saved: Path, tmp_path: Path) -> None:
    add_adapter(load_model(config(saved)), AdapterConfig()).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="it is an adapter"):
        load_model(config(tmp_path))


def test_torn_weights_are_one_line(copy: Path) -> None:
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be read") as error:
        load_model(config(copy))
    one_line(error)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./models/base", "no such folder"),
        ("/models/base", "no such folder"),
        ("someone/no-such-model", "not in the local cache, and HF_HUB_OFFLINE is set"),
    ],
)
def test_a_name_that_is_not_there(name: str, message: str) -> None:
    for load in (load_model, load_tokenizer, model_settings):
        with pytest.raises(ModelError, match=message) as error:
            load(config(name))
        one_line(error)


def test_a_folder_beside_others_is_not_asked_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs" / "contest").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="`runs/contst`, and there is no such folder; did you mean `contest`") as error:
        load_model(config("runs/contst"))
    one_line(error)


def test_a_file_is_not_a_folder(copy: Path) -> None:
    with pytest.raises(ModelError, match="it must be the folder"):
        load_model(config(copy / "model.safetensors"))


def test_code_of_a_model_is_not_run_unasked(copy: Path) -> None:
    (copy / "config.json").write_text('{"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig"}}')
    (copy / "own.py").write_text("raise SystemExit('this code ran')")
    with pytest.raises(ModelError, match="trust_remote_code: true"):
        load_model(config(copy))


def test_a_tokenizer_without_pad_token_asks_for_one(copy: Path) -> None:
    tokenizer = load_tokenizer(config(copy))
    tokenizer.pad_token = None
    tokenizer.save_pretrained(copy)
    with pytest.raises(ModelError, match=r"no pad token; set model.pad_token .* `<\|im_end\|>`"):
        load_tokenizer(config(copy))
    assert load_tokenizer(config(copy, pad_token="<|endoftext|>")).pad_token == "<|endoftext|>"
    with pytest.raises(ModelError, match="`<pad>`"):
        load_tokenizer(config(copy, pad_token="<pad>"))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"name_or_path": "x", "quantization": "nf4"}, "without model.adapter"),
        ({"name_or_path": "nano:llama", "quantization": "nf4", "adapter": {}}, "nano"),
        ({"name_or_path": "x", "shape": {"hidden_size": 8}}, "belongs to nano models"),
        ({"name_or_path": "x", "adapter": {"lora_rank": 8}}, "lora_rank"),
        ({"name_or_path": "x", "dtype": "fp32"}, "float32"),
    ],
)
def test_sections_that_contradict_themselves(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ModelConfig.model_validate(section)
