"""The folder that `curricle diff` writes: read again as the same difference, by us and by plain numpy."""

from __future__ import annotations

import json
import xml.etree.ElementTree as Xml
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from curricle.errors import ModelError, RecipeError, RunError
from curricle.experts import files
from curricle.experts.checkpoint import Checkpoint
from curricle.experts.difference import Difference, Factors
from curricle.experts.making import Normalize, difference
from curricle.experts.reading import read_difference
from experts.made import adapter, base, edit, moved


@pytest.fixture
def start(tmp_path: Path) -> Checkpoint:
    return Checkpoint(base(tmp_path / "base"))


def same(one: Difference, other: Difference) -> None:
    for name in one.names:
        a, b = one.part(name), other.part(name)
        if isinstance(a, Factors) and isinstance(b, Factors):
            assert (a.scale, a.up.equal(b.up), a.down.equal(b.down)) == (b.scale, True, True)
        else:
            assert isinstance(a, torch.Tensor)
            assert isinstance(b, torch.Tensor)
            assert a.equal(b)


@pytest.mark.parametrize("shard", [1, 1 << 29])
@pytest.mark.parametrize("normalize", ["none", "l2"])
def test_the_folder_is_the_difference(
    normalize: Normalize, shard: int, start: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SHARD", shard)
    lora = adapter(tmp_path / "lora", start.folder, modules_to_save=["lm_head"])
    full = moved(tmp_path / "full", start.folder, only="layers.0")
    made = difference(
        start.folder, {"a": lora, "b": full}, tmp_path / "out", normalize=normalize, dense=True, npy=True
    )  # fmt: skip
    for name, source in (("a", lora), ("b", full)):
        expected = read_difference(source, start)
        changed = [tensor for tensor in expected.names if expected.dense(tensor).any()]
        found = read_difference(tmp_path / "out" / name, start)
        assert sorted(found.names) == changed
        assert (found.name, found.base_name, found.base) == (name, expected.base_name, start.fingerprint())
        same(found.restored(), expected)
        scaled = expected.normalized() if normalize == "l2" else expected
        same(found, scaled)
        parts = (tmp_path / "out" / name).glob("dense-*.safetensors")
        dense = {key: tensor for file in parts for key, tensor in load_file(file).items()}
        flat = np.load(tmp_path / "out" / name / f"diff_{name}.npy", allow_pickle=False)
        index = json.loads((tmp_path / "out" / name / f"diff_{name}_index.json").read_text())
        assert sorted(dense) == [entry["key"] for entry in index["tensors"]] == changed
        for entry in index["tensors"]:
            end = entry["offset"] + int(np.prod(entry["shape"]))
            tensor = torch.from_numpy(flat[entry["offset"] : end].reshape(entry["shape"]))
            assert tensor.equal(scaled.dense(entry["key"]))
            assert tensor.equal(dense[entry["key"]])
        assert len(flat) == made.summaries["ab".index(name)].whole.count
        if normalize == "l2":
            assert np.linalg.norm(flat.astype(np.float64)) == pytest.approx(1, rel=1e-6)


def test_what_is_written_beside(start: Checkpoint, tmp_path: Path) -> None:
    lora = adapter(tmp_path / "lora", start.folder)
    full = moved(tmp_path / "full", start.folder)
    made = difference(start.folder, [f"a={lora}", f"b={full}"], tmp_path / "out")
    names = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*"))
    assert names == [
        *(
            f"a/{name}"
            for name in ("diff_a.svg", "diff_a_summary.json", "difference-00001.safetensors", "difference.json")
        ),
        *(
            f"b/{name}"
            for name in ("diff_b.svg", "diff_b_summary.json", "difference-00001.safetensors", "difference.json")
        ),
        "differences.json",
        "differences.svg",
    ]
    together = json.loads((tmp_path / "out" / "differences.json").read_text())
    assert together["experts"] == ["a", "b"]
    assert together["cosine"] == made.cosines
    assert together["base"]["fingerprint"] == start.fingerprint()
    summary = json.loads((tmp_path / "out" / "a" / "diff_a_summary.json").read_text())
    assert summary["norm"] == pytest.approx(read_difference(lora, start).norm())
    assert summary["most_changed"][0] in ("model.layers.0", "model.layers.1")
    written = json.loads((tmp_path / "out" / "a" / "difference.json").read_text())
    assert {one["kind"] for one in written["tensors"].values()} == {"low_rank"}
    for picture, said in (("differences.svg", "model.layers.1"), ("a/diff_a.svg", "Change of a")):
        assert said in "".join(Xml.parse(tmp_path / "out" / picture).getroot().itertext())


def test_a_written_folder_is_an_expert_too(start: Checkpoint, tmp_path: Path) -> None:
    lora = adapter(tmp_path / "lora", start.folder)
    difference(start.folder, {"a": lora}, tmp_path / "one", normalize="l2")
    difference(start.folder, {"b": tmp_path / "one" / "a"}, tmp_path / "two")
    found = read_difference(tmp_path / "two" / "b", start)
    assert found.scale == 1
    same(found, read_difference(lora, start))
    with pytest.raises(ModelError, match=r"holds several differences \(a\); name one of them"):
        read_difference(tmp_path / "one", start)


def test_an_expert_equal_to_its_base(start: Checkpoint, tmp_path: Path) -> None:
    difference(start.folder, {"same": start.folder}, tmp_path / "out", npy=True, dense=True)
    assert read_difference(tmp_path / "out" / "same").names == []
    assert np.load(tmp_path / "out" / "same" / "diff_same.npy").shape == (0,)


def test_refusals_come_before_anything_is_written(start: Checkpoint, tmp_path: Path) -> None:
    lora, out = adapter(tmp_path / "lora", start.folder), tmp_path / "out"
    with pytest.raises(ModelError, match=r"diff_a.npy would have .* GiB, and 1e-06 are allowed; .* --max-npy"):
        difference(start.folder, {"a": lora}, out, npy=True, max_npy=1e-6)
    with pytest.raises(RecipeError, match="no expert was given"):
        difference(start.folder, [], out)
    with pytest.raises(RecipeError, match="weights belong to `curricle merge`"):
        difference(start.folder, [f"a={lora}@0.5"], out)
    damaged = edit(moved(tmp_path / "full", start.folder), model__norm__weight=torch.full((32,), torch.nan))
    with pytest.raises(ModelError, match=r"model.norm.weight holds NaN"):
        difference(start.folder, {"a": lora, "b": damaged}, out)
    with pytest.raises(ModelError, match=r"holds .*base, which is read"):
        difference(start.folder, {"a": lora}, tmp_path, force=True)
    assert not out.exists()
    out.mkdir()
    (out / "mine.txt").touch()
    with pytest.raises(ModelError, match="is not empty; give another folder, or --force"):
        difference(start.folder, {"a": lora}, out)
    difference(start.folder, {"a": lora}, out, force=True)
    assert not (out / "mine.txt").exists()


def test_a_folder_of_another_version(start: Checkpoint, tmp_path: Path) -> None:
    difference(start.folder, {"a": adapter(tmp_path / "lora", start.folder)}, tmp_path / "out")
    about = tmp_path / "out" / "a" / "difference.json"
    about.write_text(about.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(ModelError, match="version 2; here curricle-difference version 1 is read"):
        read_difference(tmp_path / "out" / "a")


def test_an_expert_is_named_by_its_arm(start: Checkpoint, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    adapter(runs / "code" / "seed-0" / "model", start.folder, seed=1)
    moved(runs / "whole" / "seed-3" / "model", start.folder, seed=2)
    exact = {"code": runs / "code" / "seed-0", "whole": runs / "whole" / "seed-3"}
    wanted = difference(start.folder, exact, tmp_path / "exact")
    found = difference(start.folder, [f"{name}={runs / name}" for name in exact], tmp_path / "by-arm")
    assert found.summaries == wanted.summaries
    with pytest.raises(RunError, match=r"holds 2 runs \(code/seed-0, whole/seed-3\); name one of them"):
        read_difference(runs, start)
