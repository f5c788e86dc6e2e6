"""One adapter out of several, against the dense sum and against PEFT's own way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from curricle.errors import ModelError, RecipeError, RunError
from curricle.experts.adapter import Sum, best, merge_adapters, stacked
from curricle.experts.checkpoint import Checkpoint
from curricle.experts.difference import Factors
from curricle.experts.merging import merge
from curricle.experts.reading import read_difference
from curricle.runtime.files import read_json
from curricle.runtime.quiet import calm_libraries
from experts.made import adapter, base, merged, moved

WEIGHTS = {"a": 0.6, "b": -0.4, "c": 1.3}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path]]:
    """A base, and three experts of other ranks, targets and scales."""
    folder = tmp_path_factory.mktemp("experts")
    on = base(folder / "base", "tied")
    return on, {
        "a": adapter(folder / "a", on, 1),
        "b": adapter(folder / "b", on, 2, r=6, use_rslora=True),
        "c": adapter(folder / "c", on, 3, r=3, target_modules=["q_proj", "v_proj"], rank_pattern={"v_proj": 5}),
    }


def dense_sum(on: Path, experts: dict[str, Path], weights: dict[str, float]) -> dict[str, torch.Tensor]:
    total: dict[str, torch.Tensor] = {}
    for name, path in experts.items():
        found = read_difference(path, Checkpoint(on), name)
        for key in found.names:
            total[key] = total.get(key, torch.zeros(())) + weights[name] * found.dense(key).double()
    return total


def written(out: Path, on: Path) -> dict[str, torch.Tensor]:
    found = read_difference(out, Checkpoint(on), "merged")
    return {key: found.dense(key).double() for key in found.names}


def test_side_by_side_is_the_dense_sum(
    tmp_path: Path, llama: tuple[Path, dict[str, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    on, experts = llama
    result = merge_adapters(on, experts, WEIGHTS, tmp_path / "out")
    wanted, got = dense_sum(on, experts, WEIGHTS), written(tmp_path / "out", on)
    assert wanted.keys() == got.keys()
    for key, tensor in wanted.items():
        torch.testing.assert_close(got[key], tensor, atol=1e-6, rtol=1e-5)
    ranks = {key.split(".")[-2]: rank for key, rank in result.ranks.items()}
    assert ranks == {"q_proj": 13, "v_proj": 5, "down_proj": 10}
    assert result.error == 0
    said = capsys.readouterr().err
    assert "expert a does not change model.layers.0.self_attn.v_proj.weight, model.layers.1.self_attn.v_proj" in said
    assert "exact" in str(result)
    assert "0.6 * a - 0.4 * b + 1.3 * c; normalize none" in str(result)


@pytest.mark.parametrize("rank", [None, 2])
def test_plain_peft_loads_it(tmp_path: Path, llama: tuple[Path, dict[str, Path]], rank: int | None) -> None:
    """Where ranks differ as well, and the head is tied."""
    from transformers import AutoModelForCausalLM

    on, experts = llama
    merge_adapters(on, experts, WEIGHTS, tmp_path / "out", rank=rank)
    with calm_libraries():
        own = AutoModelForCausalLM.from_pretrained(on).state_dict()
    loaded, change = merged(tmp_path / "out", on), written(tmp_path / "out", on)
    for name, tensor in own.items():
        wanted = tensor.double() + change.get(name, torch.zeros(()))
        torch.testing.assert_close(loaded[name].double(), wanted, atol=1e-6, rtol=1e-5)


def test_the_same_as_pefts_cat(tmp_path: Path, llama: tuple[Path, dict[str, Path]]) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    on, _ = llama
    experts = {name: adapter(tmp_path / name, on, seed) for seed, name in enumerate("ab", start=5)}
    weights = {"a": 0.7, "b": 0.2}
    merge_adapters(on, experts, weights, tmp_path / "out")
    with calm_libraries():
        theirs: Any = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(on), experts["a"], "a")
        theirs.load_adapter(experts["b"], "b")
        theirs.add_weighted_adapter(["a", "b"], [0.7, 0.2], "both", combination_type="cat")
        theirs.set_adapter("both")
        ours: Any = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(on), tmp_path / "out")
    tokens = torch.arange(12)[None]
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(tokens).logits, theirs.eval()(tokens).logits, atol=1e-5, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:Setting .save_embedding_layers. to .True.:UserWarning")
@pytest.mark.parametrize("weights", [{"a": 0.7, "b": -0.4}, {"b": 1.0}])
def test_embedding_and_head_that_are_one_both_change(tmp_path: Path, weights: dict[str, float]) -> None:
    """Named by the folder of its run, the base is where PEFT looks for it."""
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM

    run = tmp_path / "run"
    on = base(run / "model", "tied")
    tied = {"target_modules": ["embed_tokens", "lm_head"], "ensure_weight_tying": True}
    experts = {"a": adapter(tmp_path / "a", on, 1), "b": adapter(tmp_path / "b", on, 2, r=3, **tied)}
    experts = {name: experts[name] for name in weights}
    merge_adapters(run, experts, weights, tmp_path / "adapter")
    whole = merge(on, experts, tmp_path / "whole", weights=weights, prove=True).folder
    tokens = torch.arange(12)[None]
    with calm_libraries(), torch.no_grad():
        found = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter").eval()(tokens).logits
        wanted = AutoModelForCausalLM.from_pretrained(whole).eval()(tokens).logits
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("rank", [1, 4, 7])
def test_the_best_of_a_rank_is_that_of_the_dense_svd(rank: int) -> None:
    draw = torch.Generator().manual_seed(0)
    parts = [
        (Factors(torch.randn(20, r, generator=draw), torch.randn(r, 14, generator=draw), scale), weight)
        for r, scale, weight in ((4, 2.0, 0.5), (5, 0.3, -1.0))
    ]
    exact = stacked(parts)
    wanted = sum(weight * factors.dense().double() for factors, weight in parts)
    assert isinstance(wanted, torch.Tensor)
    u, values, vh = torch.linalg.svd(wanted, full_matrices=False)
    near = best(exact, rank)
    dense = near.factors.dense().double()
    torch.testing.assert_close(dense, (u[:, :rank] * values[:rank]) @ vh[:rank], atol=1e-5, rtol=1e-5)
    assert near.factors.rank == rank
    assert near.left_out / near.square == pytest.approx(float(((dense - wanted).norm() / wanted.norm()) ** 2), rel=1e-4)


def test_wider_than_the_matrix_and_without_full_rank() -> None:
    """Ten factors of a 6 x 5 matrix, the same one twice: nothing is left out at its true rank."""
    draw = torch.Generator().manual_seed(0)
    one = Factors(torch.randn(6, 3, generator=draw), torch.randn(3, 5, generator=draw))
    exact = stacked([(one, 1.0), (one, 0.5), (one, 1.0), (Factors(torch.zeros(6, 1), torch.zeros(1, 5)), 1.0)])
    near = best(exact, 3)
    torch.testing.assert_close(near.factors.dense(), 2.5 * one.dense(), atol=1e-5, rtol=1e-5)
    assert near.left_out < 1e-10 * near.square


def test_errors_are_told_by_tensor_and_as_a_whole(tmp_path: Path, llama: tuple[Path, dict[str, Path]]) -> None:
    on, experts = llama
    result = merge_adapters(on, experts, WEIGHTS, tmp_path / "out", rank=5)
    wanted, got = dense_sum(on, experts, WEIGHTS), written(tmp_path / "out", on)
    for key, error in result.errors.items():
        true = float((got[key] - wanted[key]).norm() / wanted[key].norm())
        assert error == pytest.approx(true, abs=1e-6)
    left = torch.cat([(got[key] - tensor).flatten() for key, tensor in wanted.items()])
    everything = torch.cat([tensor.flatten() for tensor in wanted.values()])
    assert result.error == pytest.approx(float(left.norm() / everything.norm()), abs=1e-6)
    assert f"relative error {result.error:.3g} over all" in str(result)
    about = read_json(tmp_path / "out" / "merge.json")
    assert about["error"] == result.error
    assert {name: part["error"] for name, part in about["tensors"].items()} == result.errors


def test_sum1_divides_by_the_sum(tmp_path: Path, llama: tuple[Path, dict[str, Path]]) -> None:
    on, experts = llama
    result = merge_adapters(on, experts, WEIGHTS, tmp_path / "out", normalize="sum1")
    wanted = dense_sum(on, experts, {name: weight / 1.5 for name, weight in WEIGHTS.items()})
    for key, tensor in written(tmp_path / "out", on).items():
        torch.testing.assert_close(tensor, wanted[key], atol=1e-6, rtol=1e-5)
    assert "/ 1.5; normalize sum1: divided" in str(result)


@pytest.mark.parametrize("kind", ["mamba2", "qwen2"])
def test_other_families_and_one_expert_as_it_is(tmp_path: Path, kind: str) -> None:
    on = base(tmp_path / "base", kind)
    one = adapter(tmp_path / "one", on)
    merge_adapters(on, {"one": one}, {"one": 1.0}, tmp_path / "out")
    first, second = merged(one, on), merged(tmp_path / "out", on)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, atol=1e-6, rtol=1e-5)


def test_embeddings_and_weights_stored_the_other_way_round(tmp_path: Path) -> None:
    from support import model

    on = tmp_path / "base"
    with calm_libraries():
        model("gpt2", None, tie_word_embeddings=False).save_pretrained(on)
    one = adapter(tmp_path / "one", on, target_modules=["c_attn", "c_fc", "wte"], fan_in_fan_out=True)
    merge_adapters(on, {"one": one}, {"one": 1.0}, tmp_path / "out", rank=3)
    merge_adapters(on, {"one": one}, {"one": 1.0}, tmp_path / "exact")
    first, second = merged(one, on), merged(tmp_path / "exact", on)
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, atol=1e-6, rtol=1e-5)
    change = written(tmp_path / "out", on)
    whole = merged(tmp_path / "out", on)
    own = {name: Checkpoint(on).read(name) for name in change}
    assert any(name.endswith("wte.weight") for name in change)
    for name, tensor in change.items():
        torch.testing.assert_close(whole[name].double() - own[name].double(), tensor, atol=1e-6, rtol=1e-4)


def test_an_expert_of_weight_zero_takes_no_rank(tmp_path: Path, llama: tuple[Path, dict[str, Path]]) -> None:
    on, experts = llama
    result = merge_adapters(on, experts, {"a": 1.0, "b": 0.0, "c": 0.0}, tmp_path / "out")
    assert set(result.ranks.values()) == {4}


def test_bad_input_is_one_line(tmp_path: Path, llama: tuple[Path, dict[str, Path]]) -> None:
    on, experts = llama
    out = tmp_path / "out"
    with pytest.raises(RecipeError, match="`d` has a weight but is no expert"):
        merge_adapters(on, experts, {**WEIGHTS, "d": 1.0}, out)
    with pytest.raises(RecipeError, match="all weights are 0"):
        merge_adapters(on, experts, dict.fromkeys(experts, 0.0), out)
    with pytest.raises(RecipeError, match="sum to 0"):
        merge_adapters(on, experts, {"a": 1.0, "b": -1.0, "c": 0.0}, out, normalize="sum1")
    with pytest.raises(RecipeError, match="the rank is 0"):
        merge_adapters(on, experts, WEIGHTS, out, rank=0)
    with pytest.raises(ModelError, match=r"expert full holds model\.\S+ whole.*no --as-adapter"):
        merge_adapters(on, {"full": moved(tmp_path / "full", on)}, {"full": 1.0}, out)
    assert not out.exists()
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="not empty"):
        merge_adapters(on, experts, WEIGHTS, out)


def test_nothing_larger_than_the_factors_is_made(llama: tuple[Path, dict[str, Path]]) -> None:
    """A 2,000 x 3,000 tensor of rank 8: the dense one would be 24 MB."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        numel = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            for tensor in result if isinstance(result, tuple | list) else [result]:
                if isinstance(tensor, torch.Tensor):
                    self.numel = max(self.numel, tensor.numel())
            return result

    with Largest() as largest:
        best(stacked([(Factors(torch.randn(2000, 4), torch.randn(4, 3000)), 1.0) for _ in range(2)]), 4)
    assert largest.numel <= 8 * 3000
    assert Sum([]).names == []


def test_from_the_command_line(
    tmp_path: Path, llama: tuple[Path, dict[str, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    from curricle.cli.app import main

    on, experts = llama
    asked = ["merge", "--base", str(on), *(f"--expert={name}={experts[name]}@0.5" for name in "ab")]
    assert main([*asked, "--as-adapter", "--rank", "4", "-o", str(tmp_path / "out")]) == 0
    assert "rank 4, loadable with PEFT" in capsys.readouterr().out
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()
    for more, line in [
        (["--rank", "4"], "give --as-adapter as well"),
        (["--as-adapter", "--method", "ties"], "method ties does not go with --as-adapter"),
        (["--as-adapter", "--density", "0.5"], "--density does not go with --as-adapter"),
    ]:
        assert main([*asked, *more, "-o", str(tmp_path / "other")]) == 2
        assert line in capsys.readouterr().err
