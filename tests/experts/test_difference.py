"""Factors against the dense matrices they stand for, and what two models must share to be subtracted."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from curricle.errors import ModelError
from curricle.experts import difference as module
from curricle.experts.checkpoint import Checkpoint
from curricle.experts.difference import Factors, inner, norm
from curricle.experts.reading import read_difference
from experts.made import adapter, base, edit, moved


def factors(seed: int, rank: int = 3, scale: float = 2.0) -> Factors:
    draw = torch.Generator().manual_seed(seed)
    return Factors(torch.randn(7, rank, generator=draw), torch.randn(rank, 5, generator=draw), scale)


@pytest.mark.parametrize("strip", [4, 1 << 20])
@pytest.mark.parametrize("dense", [(False, False), (True, False), (False, True), (True, True)])
def test_products_through_factors(dense: tuple[bool, bool], strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STRIP", strip)
    parts = [factors(1), factors(2, rank=4, scale=-0.5)]
    expected = float((parts[0].dense().double() * parts[1].dense().double()).sum())
    a, b = (part.dense() if make_dense else part for part, make_dense in zip(parts, dense, strict=True))
    assert inner(a, b) == pytest.approx(expected, rel=1e-6)
    assert norm(a) == pytest.approx(float(parts[0].dense().double().norm()), rel=1e-6)


def test_factors_say_what_they_are() -> None:
    part = factors(1)
    assert (part.shape, part.rank) == ((7, 5), 3)
    torch.testing.assert_close(part.dense(), 2.0 * part.up @ part.down)
    torch.testing.assert_close(part.scaled(-3).dense(), -3 * part.dense())


def test_two_models_are_subtracted_in_float32(tmp_path: Path) -> None:
    start = Checkpoint(base(tmp_path / "b", dtype=torch.bfloat16, max_shard_size="20KB"))
    expert = Checkpoint(moved(tmp_path / "e", start.folder))
    found = read_difference(expert.folder, start)
    assert sorted(found.names) == start.names
    for name in found.names:
        assert found.dense(name).dtype == torch.float32
        assert found.dense(name).equal(expert.read(name).float() - start.read(name).float())
    assert found.norm() == pytest.approx(
        math.hypot(*(float(found.dense(name).norm()) for name in found.names)), rel=1e-6
    )


def test_a_full_model_needs_its_base(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a full model, so its difference needs the base model"):
        read_difference(base(tmp_path))


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "shape": ({"model__norm__weight": torch.ones(3)}, r"model.norm.weight is \[3\] in .* and \[32\] in the base"),
    "missing": ({"model__norm__weight": None}, r"the tensor model.norm.weight and .* has not"),
    "more": ({"model__other": torch.ones(3)}, r"the tensor model.other and .* has not"),
    "dtype": (
        {"model__norm__weight": torch.ones(32).half()},
        "model.norm.weight is float16 in .* and float32 in the base",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_models_of_another_shape_name_the_tensor(bad: str, tmp_path: Path) -> None:
    changes, problem = BAD[bad]
    start = base(tmp_path / "b")
    with pytest.raises(ModelError, match=problem):
        read_difference(edit(moved(tmp_path / "e", start), **changes), Checkpoint(start))


def test_a_tied_base_and_an_expert_whose_ends_came_apart(tmp_path: Path) -> None:
    start = base(tmp_path / "b", "tied")
    expert = edit(moved(tmp_path / "e", start), lm_head__weight=torch.ones(97, 32))
    with pytest.raises(ModelError, match=r"lm_head.weight .* shares its numbers with model.embed_tokens.weight"):
        read_difference(expert, Checkpoint(start))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_names_the_tensor(value: float, tmp_path: Path) -> None:
    start = base(tmp_path / "b")
    expert = edit(moved(tmp_path / "e", start), model__norm__weight=torch.full((32,), value))
    found = read_difference(expert, Checkpoint(start), "code")
    assert found.part("lm_head.weight").shape == (97, 32)
    with pytest.raises(ModelError, match=r"expert code: the change of model.norm.weight holds NaN or an infinite"):
        found.norm()


def test_an_adapter_of_another_base_is_told_by_its_fingerprint(tmp_path: Path) -> None:
    start, other = Checkpoint(base(tmp_path / "b")), Checkpoint(base(tmp_path / "other", seed=1))
    run = tmp_path / "run"
    adapter(run / "model", start.folder)
    record = {"fingerprint": start.fingerprint(), "name_or_path": "org/base"}
    (run / "model" / "base.json").write_text(json.dumps(record))
    found = read_difference(run, start, "code")
    assert (found.base, found.base_name) == (start.fingerprint(), "org/base")
    (run / "model" / "base.json").write_text(json.dumps(record | {"fingerprint": "main"}))
    assert read_difference(run, other).base is None  # of the hub's a branch may be recorded: nothing to compare with
    (run / "model" / "base.json").write_text(json.dumps(record))
    with pytest.raises(
        ModelError, match=rf"fingerprint {start.fingerprint()} \(org/base\); .* has {other.fingerprint()}"
    ):
        read_difference(run, other)


def test_nothing_to_normalize(tmp_path: Path) -> None:
    start = base(tmp_path / "b")
    with pytest.raises(ModelError, match="differs in nothing from its base"):
        read_difference(start, Checkpoint(start)).normalized()
