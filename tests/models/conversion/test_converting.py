"""From source to folder: bit for bit where nothing is rounded, refused by name where something is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from curricle.errors import ModelError
from curricle.models.conversion import Target, convert, verify_files, verify_model
from curricle.models.nano import nano_config
from models.conversion.files import (
    TEXT,
    VOCAB,
    llama,
    logits,
    tokens,
    write_folder,
    write_llama2c,
    write_meta,
    write_tokenizer_bin,
)


@pytest.fixture
def stories(tmp_path: Path) -> Path:
    """A llama2.c file with its tokenizer beside it."""
    write_tokenizer_bin(tmp_path / "tokenizer.bin")
    return write_llama2c(tmp_path / "model.bin", llama())


def of_family(family: str) -> Any:
    torch.manual_seed(0)
    kinds = ["full_attention", "sliding_attention", "sliding_attention"]
    sliding = {"sliding_window": 4, "use_sliding_window": True, "layer_types": kinds}
    shape = {"num_hidden_layers": 3, "max_position_embeddings": 64, **(sliding if family == "qwen2" else {})}
    return AutoModelForCausalLM.from_config(nano_config(family, VOCAB, **shape)).eval()


def test_a_llama2c_file_becomes_a_folder_that_transformers_loads(tmp_path: Path, stories: Path) -> None:
    written = convert(stories, tmp_path / "out", origin="a test")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert torch.equal(logits(model, tokens()), logits(llama(), tokens()))
    assert AutoTokenizer.from_pretrained(tmp_path / "out")(TEXT[0])["input_ids"][0] == 1
    source = written.metadata["source"]
    assert (source["format"], source["origin"]) == ("llama2.c version 0", "a test")
    assert set(source["files"]) == {"model.bin", "tokenizer.bin"}
    assert 0 <= written.metadata["checks"]["logits"] < 1e-5
    assert str(written).startswith(f"{tmp_path / 'out'}: llama, {model.num_parameters():,} parameters, float32")


def test_a_folder_of_metas_becomes_a_model_with_heads(tmp_path: Path) -> None:
    plain = llama()
    written = convert(write_meta(tmp_path / "meta", plain, [llama(seed=1).model.layers[0]], 2), tmp_path / "out")
    assert (written.metadata["num_future_tokens"], written.metadata["source"]["params"]["n_layers"]) == (2, 4)
    convert(tmp_path / "out", tmp_path / "head-1", Target(num_future_tokens=1))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "head-1").eval()
    assert model.config.model_type == "llama"
    assert torch.equal(logits(model, tokens()), logits(plain, tokens()))


@pytest.mark.parametrize("family", ["llama", "qwen2", "mistral"])
@pytest.mark.parametrize("kind", ["parallel", "sequential"])
def test_heads_are_added_and_head_1_comes_back(tmp_path: Path, family: str, kind: Any) -> None:
    model = of_family(family)
    source = write_folder(tmp_path / "source", model)
    convert(source, tmp_path / "mtp", Target(num_future_tokens=3, kind=kind))
    heads = AutoModelForCausalLM.from_pretrained(tmp_path / "mtp").eval()
    assert (heads.config.model_type, heads.config.num_future_tokens, heads.config.kind) == ("curricle_mtp", 3, kind)
    assert torch.equal(logits(heads, tokens()), logits(model, tokens()))
    if kind == "parallel":  # copies of the last layer say what it says
        every = logits(heads, tokens(), all_heads=True)
        assert torch.equal(every[:, 1], every[:, 0])
    convert(tmp_path / "mtp", tmp_path / "plain", Target(num_future_tokens=1))
    assert load_file(tmp_path / "plain" / "model.safetensors").keys() == load_file(source / "model.safetensors").keys()
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "plain").eval()
    assert plain.config.model_type == family
    assert torch.equal(logits(plain, tokens()), logits(model, tokens()))


def test_a_model_with_heads_keeps_them_or_gives_up_all_but_one(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "source", llama())
    convert(source, tmp_path / "mtp", Target(num_future_tokens=3))
    with pytest.raises(ModelError, match="the model has 3 heads, and 2 were asked for"):
        convert(tmp_path / "mtp", tmp_path / "out", Target(num_future_tokens=2))


def test_heads_that_leave_no_trunk_are_refused(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "source", llama(num_hidden_layers=1))
    with pytest.raises(ModelError, match="leave no trunk"):
        convert(source, tmp_path / "mtp", Target(num_future_tokens=2))
    assert not (tmp_path / "mtp").exists()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_another_precision_is_cast_once(tmp_path: Path, stories: Path, dtype: Any) -> None:
    written = convert(stories, tmp_path / "out", Target(dtype=dtype))
    saved = load_file(tmp_path / "out" / "model.safetensors")
    expected = llama().to(getattr(torch, dtype)).state_dict()
    assert all(torch.equal(saved[name], expected[name]) for name in saved)
    assert written.metadata["dtype"] == dtype
    assert 0 < written.metadata["checks"]["logits"] < 1e-5  # compared before it was rounded


@pytest.mark.parametrize("shards", [1, 3])
def test_pickled_folders_are_opened_without_running_code(tmp_path: Path, shards: int) -> None:
    model = llama()
    source = write_folder(tmp_path / "source", model)
    (source / "model.safetensors").unlink()
    state = list(model.state_dict().items())
    for i in range(shards):
        name = "pytorch_model.bin" if shards == 1 else f"pytorch_model-{i + 1:05}-of-{shards:05}.bin"
        torch.save(dict(state[i::shards]), source / name)
    convert(source, tmp_path / "out")
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert torch.equal(logits(found, tokens()), logits(model, tokens()))


def damaged(folder: Path, change: Any) -> Path:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("heads", [1, 3])
def test_tensors_of_a_folder_are_accounted_for_by_name(tmp_path: Path, heads: int) -> None:
    source = write_folder(tmp_path / "source", llama())
    if heads > 1:
        convert(source, tmp_path / "mtp", Target(num_future_tokens=heads))
        source = tmp_path / "mtp"
        (source / "metadata.json").unlink()

    def change(state: dict[str, torch.Tensor]) -> None:
        del state["model.layers.1.mlp.up_proj.weight"]
        state["model.layers.9.mlp.up_proj.weight"] = torch.zeros(2, 2)
        state["model.layers.2.mlp.down_proj.weight"] = state["model.layers.2.mlp.down_proj.weight"].T

    damaged(source, change)
    with pytest.raises(ModelError) as caught:
        convert(source, tmp_path / "out")
    assert "`model.layers.1.mlp.up_proj.weight` is missing" in str(caught.value)
    assert "`model.layers.9.mlp.up_proj.weight` belongs to no such model" in str(caught.value)
    assert "`model.layers.2.mlp.down_proj.weight` is [48, 32] and not [32, 48]" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_numbers_that_are_none_are_named(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "source", llama())
    damaged(source, lambda state: state["model.norm.weight"].fill_(float("nan")))
    with pytest.raises(ModelError, match=r"not every number of `model\.norm\.weight` is finite"):
        convert(source, tmp_path / "out")


def test_a_number_too_large_for_the_precision_is_named(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "source", llama())
    damaged(source, lambda state: state["model.layers.0.mlp.down_proj.weight"].fill_(7e4))
    with pytest.raises(ModelError, match=r"`model\.layers\.0\.mlp\.down_proj\.weight` is finite in float16"):
        convert(source, tmp_path / "out", Target(dtype="float16", check_text=False))


def test_a_model_that_is_fluent_in_nothing_is_refused(tmp_path: Path) -> None:
    model = llama(initializer_range=1.0)
    source = write_folder(tmp_path / "source", model)
    with pytest.raises(ModelError, match=r"on none of 4 texts .* better than a guess"):
        convert(source, tmp_path / "out")
    convert(source, tmp_path / "out", Target(check_text=False))
    verify_model(tmp_path / "out")


def test_a_tokenizer_of_a_larger_model_is_refused(tmp_path: Path) -> None:
    write_tokenizer_bin(tmp_path / "tokenizer.bin")
    with pytest.raises(ModelError, match="has 320 tokens and the model only 300"):
        convert(write_llama2c(tmp_path / "model.bin", llama(vocab_size=300)), tmp_path / "out")


def test_the_tokenizer_is_looked_for_and_named(tmp_path: Path, stories: Path) -> None:
    shutil.copy(tmp_path / "tokenizer.bin", tmp_path / "tok320.bin")
    with pytest.raises(ModelError, match=r"holds several tokenizers \(tok320\.bin, tokenizer\.bin\); name one"):
        convert(stories, tmp_path / "out")
    convert(stories, tmp_path / "out", tokenizer=tmp_path / "tok320.bin")
    (tmp_path / "tokenizer.bin").unlink()
    (tmp_path / "tok320.bin").unlink()
    with pytest.raises(ModelError, match=r"no tokenizer beside .*; name its file with --tokenizer"):
        convert(stories, tmp_path / "again")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("nowhere", "there is no "),
        ("tokenizer.bin", r"is no llama2\.c model"),
        ("empty", r"looked for config\.json, or params\.json"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path: Path, stories: Path, name: str, problem: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=problem):
        convert(tmp_path / name, tmp_path / "out")


def test_nothing_is_written_over_unasked(tmp_path: Path, stories: Path) -> None:
    convert(stories, tmp_path / "out")
    with pytest.raises(ModelError, match="is not empty; give another folder, or --force"):
        convert(stories, tmp_path / "out")
    convert(stories, tmp_path / "out", force=True)
    with pytest.raises(ModelError, match="is the source itself"):
        convert(tmp_path / "out", tmp_path / "out", force=True)


# --- metadata


def test_metadata_holds_every_file_and_where_it_came_from(tmp_path: Path, stories: Path) -> None:
    convert(stories, tmp_path / "one", origin="somebody, MIT")
    written = convert(tmp_path / "one", tmp_path / "two", Target(num_future_tokens=2))
    assert json.loads((tmp_path / "two" / "metadata.json").read_text()) == written.metadata
    assert set(written.metadata["files"]) == {path.name for path in (tmp_path / "two").iterdir()} - {"metadata.json"}
    assert written.metadata["source"]["made_from"]["origin"] == "somebody, MIT"
    assert verify_files(tmp_path / "two") == written.metadata


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda path: path.unlink(), r"lacks model\.safetensors, which its metadata\.json lists"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes, but metadata.json beside it says"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\1"), r"has SHA256 \w{12}\.\.\., but metadata"),
    ],
)
def test_a_changed_file_is_seen(tmp_path: Path, stories: Path, change: Any, problem: str) -> None:
    convert(stories, tmp_path / "out")
    change(tmp_path / "out" / "model.safetensors")
    with pytest.raises(ModelError, match=problem):
        verify_files(tmp_path / "out")


def test_somebody_elses_metadata_is_left_alone(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "source", llama())
    assert verify_files(source) is None
    (source / "metadata.json").write_text('{"files": {"nowhere": {}}}')
    assert verify_files(source) is None
    (source / "metadata.json").write_text("not JSON")
    assert verify_files(source) is None


def test_metadata_that_was_cut_is_refused(tmp_path: Path, stories: Path) -> None:
    convert(stories, tmp_path / "out")
    (tmp_path / "out" / "metadata.json").write_text('{"format": "curricle-model", "version": 1}')
    with pytest.raises(ModelError, match="lacks the list of files or the source"):
        verify_files(tmp_path / "out")


def test_a_later_version_is_refused(tmp_path: Path, stories: Path) -> None:
    convert(stories, tmp_path / "out")
    about = json.loads((tmp_path / "out" / "metadata.json").read_text())
    (tmp_path / "out" / "metadata.json").write_text(json.dumps({**about, "version": 2}))
    with pytest.raises(ModelError, match="is of version 2; version 1 is known here"):
        verify_files(tmp_path / "out")
