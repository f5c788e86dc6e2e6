"""What holds of every difference, on each family of models: subtracted again, once where tied, only what learned."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from curricle.errors import ModelError
from curricle.experts.checkpoint import Checkpoint
from curricle.experts.difference import Difference
from curricle.experts.making import difference
from curricle.experts.reading import read_difference
from curricle.experts.statistics import cosines
from experts.made import SHAPES, adapter, base, edit, moved


@pytest.fixture(params=SHAPES)
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Checkpoint:
    return Checkpoint(base(tmp_path / "base", request.param))


def add_to(start: Checkpoint, change: Difference, folder: Path) -> Path:
    """The full model that a difference makes of its base."""
    shutil.copytree(start.folder, folder)
    weights = load_file(folder / "model.safetensors")
    for name in change.names:
        weights[name] += change.dense(name)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def test_the_difference_of_base_plus_difference_is_the_difference(start: Checkpoint, tmp_path: Path) -> None:
    change = read_difference(adapter(tmp_path / "a", start.folder), start)
    again = read_difference(add_to(start, change, tmp_path / "whole"), start)
    for name in start.names:
        found = again.dense(name)
        if name not in change.names:
            assert not found.any()
            continue
        rounding = 2.0**-23 * (start.read(name).abs() + found.abs())
        assert bool(((found - change.dense(name)).abs() <= rounding).all())
    assert cosines([change, again])[0][1] == pytest.approx(1, abs=1e-6)


def test_what_lora_did_not_touch_is_not_there(start: Checkpoint, tmp_path: Path) -> None:
    found = read_difference(adapter(tmp_path / "a", start.folder), start)
    ends = ("q_proj.weight", "down_proj.weight", "in_proj.weight")
    assert found.names == [name for name in start.names if name.endswith(ends)]
    with pytest.raises(ModelError, match=r"does not change .*embed"):
        found.part(next(name for name in start.names if "embed" in name))


def test_normalizing_is_undone_to_the_bit(start: Checkpoint, tmp_path: Path) -> None:
    lora, full = adapter(tmp_path / "a", start.folder), moved(tmp_path / "e", start.folder)
    difference(start.folder, {"a": lora, "e": full}, tmp_path / "out", normalize="l2")
    for name, source in (("a", lora), ("e", full)):
        original, written = read_difference(source, start), read_difference(tmp_path / "out" / name, start)
        assert written.norm() == pytest.approx(1, rel=1e-12)
        assert 1 / written.scale == pytest.approx(original.norm(), rel=1e-12)
        assert all(written.restored().dense(key).equal(original.dense(key)) for key in written.names)


@pytest.mark.parametrize("kind", ["tied", "qwen2", "mamba2"])
def test_tied_weights_are_one(kind: str, tmp_path: Path) -> None:
    """Whether a file leaves the head out or repeats it, the difference has the embedding once."""
    start = Checkpoint(base(tmp_path / "b", kind))
    (head, embedding), *_ = start.tied.items()
    expert = moved(tmp_path / "e", start.folder, only="embed")
    twice = shutil.copytree(expert, tmp_path / "twice")
    edit(twice, **{head.replace(".", "__"): Checkpoint(expert).read(embedding).clone()})
    one, other = read_difference(expert, start), read_difference(twice, start)
    assert one.names == other.names == start.names
    assert head not in one.names
    assert one.norm() == other.norm() == pytest.approx(float(one.dense(embedding).norm()), rel=1e-6)


def test_integers_and_buffers_are_no_part_of_it(tmp_path: Path) -> None:
    """A counter, a mask and worked-out frequencies may differ, or be in one file only."""
    extra = {
        "model__layers__0__self_attn__rotary_emb__inv_freq": torch.ones(4),
        "model__position_ids": torch.arange(4),
        "model__mask": torch.ones(4, dtype=torch.bool),
    }
    start = Checkpoint(edit(base(tmp_path / "b"), **extra))
    expert = edit(moved(tmp_path / "e", start.folder), model__position_ids=torch.arange(9), model__mask=None)
    found = read_difference(edit(expert, model__layers__0__self_attn__rotary_emb__inv_freq=torch.zeros(4)), start)
    assert found.names == Checkpoint(base(tmp_path / "plain")).names


@pytest.mark.parametrize(
    ("tensor", "problem"),
    [(None, "has not"), (torch.ones(5), r"is \[5\]"), (torch.ones(32, dtype=torch.bfloat16), "is bfloat16")],
)
def test_what_does_not_match_is_named(tensor: torch.Tensor | None, problem: str, tmp_path: Path) -> None:
    start = Checkpoint(base(tmp_path / "b"))
    expert = edit(moved(tmp_path / "e", start.folder), model__norm__weight=tensor)
    with pytest.raises(ModelError, match=rf"model\.norm\.weight .*{problem}"):
        read_difference(expert, start)
