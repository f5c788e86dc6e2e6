"""A right merge passes, in any precision; a wrong tensor is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from curricle.errors import ModelError
from curricle.experts.merging import MergeSettings, merge
from curricle.experts.proof import prove_merge
from experts.made import adapter, base, moved

WEIGHTS = {"a": 0.7, "b": -0.4}


@pytest.mark.parametrize(("kind", "dtype"), [("tied", None), ("qwen2", "bfloat16"), ("mamba2", None)])
def test_a_right_merge_passes_and_a_wrong_tensor_is_named(tmp_path: Path, kind: str, dtype: str | None) -> None:
    torch.set_num_threads(1)
    on = base(tmp_path / "base", kind)
    experts = {name: adapter(tmp_path / name, on, seed) for seed, name in enumerate(WEIGHTS)}
    out = merge(on, experts, tmp_path / "out", weights=WEIGHTS, settings=MergeSettings(dtype=dtype)).folder  # type: ignore[arg-type]
    proof = prove_merge(out, on, experts, WEIGHTS)
    assert proof.difference <= proof.tolerance
    assert proof.kl < 1e-2
    assert f"{proof.num_tokens} tokens" in str(proof)
    with pytest.raises(ModelError, match="is not what was asked for"):
        prove_merge(on, on, experts, {"a": 20.0, "b": 20.0})
    file = out / "model.safetensors"
    weights = load_file(file)
    wrong = next(name for name in weights if name.endswith(("q_proj.weight", "in_proj.weight")))
    weights[wrong] = weights[wrong] * 30
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(ModelError, match=f"{wrong} differs most"):
        prove_merge(out, on, experts, WEIGHTS, rows=[[1, 2, 3, 4], [5, 6, 7, 8]])


def test_full_models_are_proved_as_well(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    on = base(tmp_path / "base", "llama")
    expert = moved(tmp_path / "full", on)
    out = merge(on, {"full": expert}, tmp_path / "out", weights={"full": 0.5}).folder
    assert prove_merge(out, on, {"full": expert}, {"full": 0.5}).difference < 1e-4
