"""Model folders read a tensor at a time, and what is wrong with one in a line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from curricle.errors import ModelError, RunError
from curricle.experts.checkpoint import Checkpoint
from curricle.models.config import ModelConfig
from curricle.models.identity import weights_fingerprint
from experts.made import base, edit


@pytest.mark.parametrize("shard", ["5GB", "20KB"])
def test_one_file_or_shards(shard: str, tmp_path: Path) -> None:
    found = Checkpoint(base(tmp_path, max_shard_size=shard))
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) is (shard == "20KB")
    expected = {name: tensor for file in tmp_path.glob("*.safetensors") for name, tensor in load_file(file).items()}
    assert found.names == sorted(expected)
    assert all(found.read(name).equal(tensor) for name, tensor in expected.items())
    for name, tensor in expected.items():
        assert (found.shape(name), found.dtype(name), found.num_bytes(name)) == (
            tensor.shape,
            tensor.dtype,
            tensor.nbytes,
        )
    assert found.config["model_type"] == "llama"
    assert found.fingerprint() == weights_fingerprint(ModelConfig(name_or_path=str(tmp_path)))


def test_precisions(tmp_path: Path) -> None:
    kinds = [torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.uint8, torch.bool, torch.float8_e4m3fn]
    tensors = {str(kind): torch.ones(2, 3).to(kind) for kind in (*kinds, torch.float8_e5m2, torch.complex64)}
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    found = Checkpoint(tmp_path)
    assert {name: found.dtype(name) for name in found.names} == {str(t.dtype): t.dtype for t in tensors.values()}


@pytest.mark.parametrize(("kind", "embedding"), [("tied", "model.embed_tokens"), ("mamba2", "backbone.embeddings")])
def test_the_tied_head_is_there_once(kind: str, embedding: str, tmp_path: Path) -> None:
    left_out = Checkpoint(base(tmp_path / "a", kind))
    assert left_out.tied == {"lm_head.weight": f"{embedding}.weight"}
    repeated = Checkpoint(
        edit(base(tmp_path / "b", kind), lm_head__weight=left_out.read(f"{embedding}.weight").clone())
    )
    assert repeated.tied == left_out.tied
    assert "lm_head.weight" not in repeated.names
    apart = Checkpoint(edit(base(tmp_path / "c", kind), lm_head__weight=torch.ones(97, 32)))
    assert apart.tied == {}
    assert "lm_head.weight" in apart.names


def test_an_untied_head_is_a_tensor_of_its_own(tmp_path: Path) -> None:
    found = Checkpoint(base(tmp_path))
    assert found.tied == {}
    assert {"lm_head.weight", "model.embed_tokens.weight"} < set(found.names)


def test_a_run_holds_its_model(tmp_path: Path) -> None:
    run = tmp_path / "experiment" / "arm" / "seed-0"
    base(run / "model")
    for folder in (run, run.parent, run.parent.parent):
        assert Checkpoint(folder).folder == run / "model"


def test_several_runs_are_named(tmp_path: Path) -> None:
    for seed in range(2):
        (tmp_path / f"seed-{seed}" / "model").mkdir(parents=True)
    with pytest.raises(RunError, match=r"holds 2 runs \(seed-0, seed-1\); name one of them"):
        Checkpoint(tmp_path)
    base(tmp_path)
    assert Checkpoint(tmp_path).folder == tmp_path


def test_damaged_folders_are_one_line(tmp_path: Path) -> None:
    base(tmp_path, max_shard_size="20KB")
    first = min(tmp_path.glob("*.safetensors"))
    whole = first.read_bytes()
    first.write_bytes(whole[:-10])
    with pytest.raises(ModelError, match=rf"{first.name} cannot be read: .*; it is cut short"):
        Checkpoint(tmp_path)
    first.unlink()
    with pytest.raises(ModelError, match=f"lacks {first.name}, one of"):
        Checkpoint(tmp_path)
    first.write_bytes(whole)
    index = tmp_path / "model.safetensors.index.json"
    listed = json.loads(index.read_text())
    listed["weight_map"]["model.other"] = first.name
    index.write_text(json.dumps(listed))
    with pytest.raises(ModelError, match=r"lacks the tensor model.other, which model.safetensors.index.json says"):
        Checkpoint(tmp_path)


def test_what_is_no_model_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="it is empty"):
        Checkpoint(tmp_path)
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(ModelError, match="pickles and not opened; `curricle model convert`"):
        Checkpoint(tmp_path)
    (tmp_path / "adapter_config.json").touch()
    with pytest.raises(ModelError, match="it is an adapter"):
        Checkpoint(tmp_path)
    with pytest.raises(ModelError, match="is a file"):
        Checkpoint(tmp_path / "adapter_config.json")
    with pytest.raises(ModelError, match="neither a folder nor a model in the local cache"):
        Checkpoint(tmp_path / "nowhere")
