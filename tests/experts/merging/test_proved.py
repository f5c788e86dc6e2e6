"""The check after a merge: when it is made, and what it says."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from curricle.errors import ModelError, RecipeError
from curricle.experts.merging import MergeSettings, merge
from curricle.experts.merging.merge import carry_out
from curricle.experts.merging.prepare import plan_of
from curricle.experts.proof import prove_merge
from experts import made


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("proved")
    base = made.base(folder / "base")
    adapters = {name: made.adapter(folder / name, base, seed=seed) for seed, name in enumerate("ab", 1)}
    return {"base": base, "whole": made.moved(folder / "whole", base, seed=3), **adapters}


def proof(models: dict[str, Path], out: Path, **how: Any) -> dict[str, Any] | None:
    experts = how.pop("experts", {name: models[name] for name in "ab"})
    weights = how.pop("weights", {"a": 0.7, "b": 0.9})
    merge(models["base"], experts, out, weights=weights, **how)
    found: dict[str, Any] | None = json.loads((out / "merge.json").read_text()).get("proof")
    return found


@pytest.mark.parametrize("how", [{}, {"normalize": "sum1"}, {"weights": {"a": -1.0, "b": 2.0}}])
def test_a_merge_of_adapters_is_compared_with_base_and_adapters(
    models: Any, tmp_path: Path, how: Any, capsys: Any
) -> None:
    found = proof(models, tmp_path / "out", **how)
    assert "Loading weights" not in capsys.readouterr().err
    assert found is not None
    assert found["difference"] <= found["tolerance"]


def test_it_can_be_left_out_and_asked_for(models: dict[str, Path], tmp_path: Path, capsys: Any) -> None:
    assert proof(models, tmp_path / "none", prove=False) is None
    assert "proved" not in capsys.readouterr().err
    assert proof(models, tmp_path / "thinned", method="ties", settings=MergeSettings(density=0.5)) is None
    assert capsys.readouterr().err.splitlines()[0] == "not proved: ties keeps a part of each difference"
    full = {"experts": {"a": models["whole"]}, "weights": {"a": 0.5}}
    assert proof(models, tmp_path / "full", **full) is None
    assert "proved" not in capsys.readouterr().err
    assert proof(models, tmp_path / "asked", **full, prove=True) is not None
    with pytest.raises(RecipeError, match="prove is for sums"):
        proof(models, tmp_path / "ties", method="ties", settings=MergeSettings(density=0.5), prove=True)


def test_a_wrong_model_does_not_take_its_name(models: dict[str, Path], tmp_path: Path) -> None:
    """What is written has other weights than what it is compared with."""
    plan = plan_of(models["base"], {"a": models["a"]}, (1.0,), (), "linear", "none", MergeSettings())
    wanted = partial(prove_merge, base=models["base"], experts={"a": models["a"]}, weights={"a": 0.5})
    with pytest.raises(ModelError, match="is not what was asked for"):
        carry_out(plan, tmp_path / "out", lambda merged: asdict(wanted(merged)))
    assert not list(tmp_path.glob("*out*"))
