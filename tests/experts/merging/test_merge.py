"""The merged folder: its files and its words, what is refused before a byte is written, and going on after a stop."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from curricle.errors import CurricleError, ModelError, RecipeError, RunError
from curricle.experts.checkpoint import Checkpoint
from curricle.experts.merging import MergeSettings, merge
from curricle.experts.merging.card import _ends
from curricle.experts.merging.config import densities_of, weights_of
from curricle.experts.merging.prepare import plan_of
from curricle.experts.merging.stream import PIECE, peak_bytes, write_shards
from curricle.experts.reading import read_difference
from curricle.runtime.files import read_json, sha256_file
from curricle.runtime.quiet import calm_libraries
from experts import made
from support import model

LAYER = "model.layers.0.self_attn.q_proj.weight"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    base = made.base(folder / "base", dtype=torch.bfloat16)
    (base / "tokenizer.json").write_text(tokenizer({"a": 0, "b": 1}))
    (base / "chat_template.jinja").write_text("{{ messages }}")
    return {
        "base": base,
        "a": made.moved(folder / "a", base, seed=3),
        "b": made.moved(folder / "b", base, seed=4),
        "lora": made.adapter(folder / "lora", base),
    }


def tokenizer(vocabulary: dict[str, int], merges: tuple[str, ...] = (), added: tuple[tuple[int, str], ...] = ()) -> str:
    extra = [{"id": number, "content": text} for number, text in added]
    return json.dumps({"model": {"type": "BPE", "vocab": vocabulary, "merges": list(merges)}, "added_tokens": extra})


def files(folder: Path) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in folder.glob("*.safetensors")}


def test_the_folder_says_what_it_is(models: dict[str, Path], tmp_path: Path) -> None:
    experts = {"a": models["a"], "lora": models["lora"]}
    done = merge(models["base"], experts, tmp_path / "out", weights={"a": 0.5, "lora": -0.25})
    about = read_json(tmp_path / "out" / "merge.json")
    assert about == json.loads(json.dumps(done.about))
    assert about["formula"] in str(done)
    assert about["formula"] == (
        "merged = base + 0.5 * (a - base) - 0.25 * (lora - base); normalize none: the weights, which sum to 0.25, are "
        "used as they are"
    )
    assert about["base"]["fingerprint"] == Checkpoint(models["base"]).fingerprint()
    assert about["experts"]["a"]["fingerprint"] == Checkpoint(models["a"]).fingerprint()
    assert about["files"] == files(tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    for said in (about["formula"], about["base"]["fingerprint"], "normalize `none`", *about["files"].values()):
        assert said in card
    for name in ("tokenizer.json", "chat_template.jinja", "generation_config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (models["base"] / name).read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_experts_are_named_by_their_arms(models: dict[str, Path], tmp_path: Path) -> None:
    for arm, expert in (("whole", "a"), ("lora", "lora")):
        shutil.copytree(models[expert], tmp_path / "runs" / arm / "seed-0" / "model")
    weights = {"whole": 0.5, "lora": 0.25}
    arms = {name: tmp_path / "runs" / name for name in weights}
    found = merge(models["base"], arms, tmp_path / "by-arm", weights=weights, normalize="sum1").folder
    exact = {"whole": models["a"], "lora": models["lora"]}
    wanted = merge(models["base"], exact, tmp_path / "out", weights=weights, normalize="sum1").folder
    assert files(found) == files(wanted)
    card = (found / "README.md").read_text()
    for said in ("| whole | 0.5 | whole/seed-0/model |", "| lora | 0.25 | lora/seed-0/model |", "| base | | base |"):
        assert said in card


@pytest.mark.parametrize(
    ("paths", "ends"),
    [
        (["/m/base", "/x/code", "/y/web"], ["base", "code", "web"]),
        (["/m/base", "/x/code", "/y/code"], ["base", "x/code", "y/code"]),
        (["r/base/seed-0/model", "r/a/seed-0/model"], ["base/seed-0/model", "a/seed-0/model"]),
        (["/m/base", "/m/base", "model"], ["base", "base", "model"]),
    ],
)
def test_folders_are_told_apart(paths: list[str], ends: list[str]) -> None:
    assert _ends(paths) == ends


def test_shards_hold_the_same_tensors_as_one_file(models: dict[str, Path], tmp_path: Path) -> None:
    asked: dict[str, Any] = {"experts": {"a": models["a"]}, "weights": {"a": 0.3}}
    one = merge(models["base"], out=tmp_path / "one", **asked).folder
    many = merge(models["base"], out=tmp_path / "many", settings=MergeSettings(max_shard_bytes=9000), **asked).folder
    whole = load_file(one / "model.safetensors")
    index = read_json(many / "model.safetensors.index.json")
    names = sorted(path.name for path in many.glob("*.safetensors"))
    assert len(names) > 5
    assert names[-1] == f"model-{len(names):05d}-of-{len(names):05d}.safetensors"
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in whole.values())
    for name, tensor in whole.items():
        with safe_open(many / index["weight_map"][name], "pt") as shard:
            assert shard.metadata() == {"format": "pt"}
            assert shard.get_tensor(name).equal(tensor)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_another_precision(models: dict[str, Path], tmp_path: Path, dtype: Any) -> None:
    exact = merge(models["base"], {"a": models["a"]}, tmp_path / "exact", weights={"a": 0.3},
                  settings=MergeSettings(dtype="float32"))  # fmt: skip
    done = merge(models["base"], {"a": models["a"]}, tmp_path / "out", weights={"a": 0.3},
                 settings=MergeSettings(dtype=dtype))  # fmt: skip
    assert read_json(done.folder / "config.json")["dtype"] == dtype
    wide, found = load_file(exact.folder / "model.safetensors"), load_file(done.folder / "model.safetensors")
    assert all(found[name].equal(wide[name].to(getattr(torch, dtype))) for name in wide)


@pytest.mark.parametrize("settings", [{}, {"rounding": "stochastic", "seed": 3}], ids=str)
@pytest.mark.parametrize("method", ["linear", "dare_ties"])
def test_the_number_of_threads_changes_nothing(
    models: dict[str, Path], tmp_path: Path, method: Any, settings: dict[str, Any]
) -> None:
    made_by = []
    asked = MergeSettings(density=None if method == "linear" else 0.4, max_shard_bytes=30_000, **settings)
    threads = torch.get_num_threads()
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            experts = {name: models[name] for name in ("a", "b", "lora")}
            weights = {"a": 0.5, "b": 0.3, "lora": 0.4}
            done = merge(
                models["base"], experts, tmp_path / str(number), weights=weights, method=method, settings=asked
            )
            assert torch.get_num_threads() == number
            made_by.append(files(done.folder))
    finally:
        torch.set_num_threads(threads)
    assert made_by[0] == made_by[1]


def saved(folder: Path, **shape: int) -> Path:
    """A base of another shape than usual."""
    with calm_libraries():
        model("llama", None, **shape).to(torch.bfloat16).save_pretrained(folder)
    return folder


def test_tensors_of_many_pieces_equal_whole_ones(tmp_path: Path) -> None:
    base = saved(tmp_path / "base", intermediate_size=3 * PIECE // 32 + 5)
    expert, lora = made.moved(tmp_path / "e", base), made.adapter(tmp_path / "l", base)
    settings = MergeSettings(dtype="float32")
    done = merge(base, {"e": expert, "l": lora}, tmp_path / "out", weights={"e": 0.5, "l": 2.0}, settings=settings)
    opened, found = Checkpoint(base), load_file(done.folder / "model.safetensors")
    dense, low = read_difference(expert, opened), read_difference(lora, opened)
    up, down = (f"model.layers.0.mlp.{which}_proj.weight" for which in ("up", "down"))
    assert found[up].equal(opened.read(up).float() + 0.5 * dense.dense(up))
    total = opened.read(down).float() + 0.5 * dense.dense(down) + 2 * low.dense(down)
    torch.testing.assert_close(found[down], total, rtol=1e-6, atol=1e-6)


def test_integers_and_buffers_are_the_bases(models: dict[str, Path], tmp_path: Path) -> None:
    held = {"counts": torch.arange(7), "model.rotary_emb.inv_freq": torch.rand(3), "flags": torch.tensor([True, False])}
    base, expert = (shutil.copytree(models[name], tmp_path / name) for name in ("base", "a"))
    made.edit(base, **{name.replace(".", "__"): tensor for name, tensor in held.items()})
    other = {name: tensor + 1 if tensor.dtype is not torch.bool else ~tensor for name, tensor in held.items()}
    made.edit(expert, **{name.replace(".", "__"): tensor for name, tensor in other.items()})
    done = merge(base, {"a": expert}, tmp_path / "out", weights={"a": 0.5})
    found = load_file(done.folder / "model.safetensors")
    assert all(found[name].equal(tensor) and found[name].dtype == tensor.dtype for name, tensor in held.items())


def stopped_after(models: dict[str, Path], scratch: Path, number: int) -> Any:
    """A merge of small shards that is interrupted when so many are written; gives its plan."""

    def advance(_: int) -> None:
        nonlocal number
        number -= 1
        if not number:
            raise KeyboardInterrupt

    plan = plan_of(
        models["base"], {"a": models["a"]}, (0.5,), (), "linear", "none", MergeSettings(max_shard_bytes=9000)
    )
    scratch.mkdir(exist_ok=True)
    with pytest.raises(KeyboardInterrupt):
        write_shards(plan, scratch, advance)
    return plan


def test_an_interrupted_merge_goes_on(models: dict[str, Path], tmp_path: Path) -> None:
    settings = MergeSettings(max_shard_bytes=9000)
    asked: dict[str, Any] = {"weights": {"a": 0.5}, "settings": settings}
    wanted = files(merge(models["base"], {"a": models["a"]}, tmp_path / "wanted", **asked).folder)
    scratch = tmp_path / ".out.merging"
    stopped_after(models, scratch, 3)
    kept = {path.name: path.stat().st_ino for path in scratch.glob("*.safetensors")}
    assert len(kept) == 3
    damaged = sorted(kept)[1]
    with (scratch / damaged).open("r+b") as handle:
        handle.seek(-1, os.SEEK_END)
        last = handle.read(1)
        handle.seek(-1, os.SEEK_END)
        handle.write(bytes([last[0] ^ 1]))
    done = merge(models["base"], {"a": models["a"]}, tmp_path / "out", **asked)
    assert files(done.folder) == wanted
    same_file = {name for name, inode in kept.items() if (done.folder / name).stat().st_ino == inode}
    assert set(kept) - {damaged} <= same_file
    assert {path.name for path in tmp_path.iterdir()} == {"wanted", "out"}


def test_another_merge_does_not_take_over_what_was_left(models: dict[str, Path], tmp_path: Path) -> None:
    settings = MergeSettings(max_shard_bytes=9000)
    wanted = merge(models["base"], {"a": models["a"]}, tmp_path / "wanted", weights={"a": 0.6}, settings=settings)
    stopped_after(models, tmp_path / ".out.merging", 3)
    done = merge(models["base"], {"a": models["a"]}, tmp_path / "out", weights={"a": 0.6}, settings=settings)
    assert files(done.folder) == files(wanted.folder)


def test_memory_is_said_beforehand(models: dict[str, Path], tmp_path: Path, capsys: Any) -> None:
    merge(models["base"], {"a": models["a"]}, tmp_path / "out", weights={"a": 0.5})
    said = capsys.readouterr().err
    size = (tmp_path / "out" / "model.safetensors").stat().st_size
    tensors = sum(tensor.nbytes for tensor in load_file(models["a"] / "model.safetensors").values())
    reads = f"reads {2 * tensors / 2**10:.1f} KiB, writes {size / 2**10:.1f} KiB, holds at most about"
    assert f"merging 21 tensors of 1 expert: {reads}" in said
    plan = plan_of(models["base"], {"a": models["a"]}, (0.5,), (0.5,), "ties", "none", MergeSettings(density=0.5))
    assert peak_bytes(plan) == 4 * 97 * 32 * 6


def refused(models: dict[str, Path], tmp_path: Path, expert: Path, says: str, **how: Any) -> None:
    """One line that says it, and nothing on disk."""
    before = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(CurricleError, match=says):
        merge(models["base"], {"a": expert}, tmp_path / "out", **{"weights": {"a": 0.5}, **how})
    assert {path.name for path in tmp_path.iterdir()} == before


def test_nan_names_the_file_and_the_tensor(models: dict[str, Path], tmp_path: Path) -> None:
    expert = made.moved(tmp_path / "e", models["base"])
    wrong = load_file(expert / "model.safetensors")[LAYER]
    wrong[3, 4] = float("nan")
    made.edit(expert, **{LAYER.replace(".", "__"): wrong})
    refused(models, tmp_path, expert, rf"{LAYER} of the expert `a` holds NaN or infinity, in .*/e/model.safetensors")
    refused({"base": expert}, tmp_path, models["a"], r"of the base holds NaN or infinity")


def test_a_number_too_large_for_half_precision(models: dict[str, Path], tmp_path: Path) -> None:
    expert = made.moved(tmp_path / "e", models["base"])
    large = load_file(expert / "model.safetensors")[LAYER]
    large[0, 0] = 1e6
    made.edit(expert, **{LAYER.replace(".", "__"): large})
    refused(models, tmp_path, expert, "beyond what float16 holds", settings=MergeSettings(dtype="float16"))


@pytest.mark.parametrize(
    ("theirs", "says"),
    [
        (tokenizer({"a": 1, "b": 0}), "token 0 is 'b' there and 'a' in the base"),
        (tokenizer({"a": 0}), "it lacks token 1, 'b'"),
        (tokenizer({"a": 0, "b": 1}, ("a b",)), "joins them in another order"),
    ],
)
def test_another_tokenizer_is_refused(models: dict[str, Path], tmp_path: Path, theirs: str, says: str) -> None:
    expert = made.moved(tmp_path / "e", models["base"])
    (expert / "tokenizer.json").write_text(theirs)
    refused(models, tmp_path, expert, says)


def test_tokens_beyond_the_bases_are_no_obstacle(models: dict[str, Path], tmp_path: Path) -> None:
    expert = made.moved(tmp_path / "e", models["base"])
    (expert / "tokenizer.json").write_text(tokenizer({"a": 0, "b": 1}, (), ((2, "<pad>"),)))
    assert merge(models["base"], {"e": expert}, tmp_path / "out", weights={"e": 1.0}).num_tensors == 21


def test_other_settings_are_said_and_another_kind_is_refused(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expert = made.moved(tmp_path / "e", models["base"])
    config = read_json(expert / "config.json")
    (expert / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.5}))
    merge(models["base"], {"e": expert}, tmp_path / "said", weights={"e": 1.0})
    assert "expert e has rms_norm_eps 0.5, the base's 1e-6; the base's is written" in capsys.readouterr().err
    (expert / "config.json").write_text(json.dumps({**config, "model_type": "mistral"}))
    refused(models, tmp_path, expert, "expert a is a mistral and the base a llama")


def test_what_does_not_fit_the_base_is_named(models: dict[str, Path], tmp_path: Path) -> None:
    expert = made.moved(tmp_path / "e", models["base"])
    made.edit(expert, **{LAYER.replace(".", "__"): None})
    refused(models, tmp_path, expert, f"has the tensor {LAYER} and .* has not")
    small = saved(tmp_path / "small", vocab_size=90, tie_word_embeddings=False)
    refused(models, tmp_path, small, "another vocabulary or width")
    (expert / "model.safetensors").write_bytes((models["a"] / "model.safetensors").read_bytes()[:-1000])
    refused(models, tmp_path, expert, "cut short")


def test_the_output_folder_is_safe(models: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    refused(models, tmp_path, models["a"], "is not empty; give another folder, or --force")
    with pytest.raises(RunError, match="which the merge reads"):
        merge(models["base"], {"a": models["a"]}, models["a"], weights={"a": 1}, force=True)
    merge(models["base"], {"a": models["a"]}, out, weights={"a": 1}, force=True)
    assert not (out / "mine.txt").exists()
    assert (out / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"weights": None}, "the expert `a` has no weight; every expert needs one \\(NAME=PATH@WEIGHT\\)"),
        ({"weights": {"b": 1.0, "a": 1.0}}, "`b` has a weight but is no expert"),
        ({"weights": {"a": float("nan")}}, "the weight of `a` is nan"),
        ({"weights": {"a": 0.0}, "normalize": "sum1"}, "weights sum to 0, by which sum1 cannot divide"),
        ({"normalize": "sum"}, "normalize is `sum`"),
        ({"method": "slerp"}, "there is no method `slerp`"),
        ({"method": "uniform"}, "weighs all experts alike"),
        ({"method": "ties"}, "ties needs a density"),
        ({"settings": MergeSettings(density=0.5)}, "the method linear keeps every number"),
        ({"method": "ties", "settings": MergeSettings(density={"b": 0.5})}, "`b` has a density but is no expert"),
        ({"method": "ties", "settings": MergeSettings(density=0.0)}, "a share above 0 and at most 1"),
    ],
    ids=str,
)
def test_what_cannot_be_asked(models: dict[str, Path], tmp_path: Path, how: dict[str, Any], says: str) -> None:
    refused(models, tmp_path, models["a"], says, **how)


def test_settings_that_are_none() -> None:
    with pytest.raises(RecipeError, match="dtype is 'int8'; known: float32, bfloat16, float16"):
        MergeSettings(dtype="int8")  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="above 0"):
        MergeSettings(max_shard_bytes=0)
    with pytest.raises(RecipeError, match="at least one expert"):
        weights_of({}, "linear", "none", [])
    assert weights_of(None, "uniform", "none", ["a", "b"]) == (0.5, 0.5)
    assert densities_of(MergeSettings(density={"b": 0.2, "a": 0.4}), "ties", ["a", "b"]) == (0.4, 0.2)


def test_a_quantized_base_is_refused(models: dict[str, Path], tmp_path: Path) -> None:
    base = shutil.copytree(models["base"], tmp_path / "base")
    config = read_json(base / "config.json")
    (base / "config.json").write_text(json.dumps({**config, "quantization_config": {"bits": 4}}))
    with pytest.raises(ModelError, match="quantized"):
        merge(base, {"a": models["a"]}, tmp_path / "out", weights={"a": 1.0})
