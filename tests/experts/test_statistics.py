"""Figures of differences against the same figures of numpy and scipy on the dense numbers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from curricle.experts import statistics as module
from curricle.experts.checkpoint import Checkpoint
from curricle.experts.difference import Difference, Lazy
from curricle.experts.reading import read_difference
from curricle.experts.statistics import BINS, Summary, base_norms, cosines, layer_of, summarize
from experts.made import adapter, base, moved


def whole_of(difference: Difference) -> np.ndarray:
    return np.concatenate([difference.dense(name).double().flatten().numpy() for name in difference.names])


def figures(difference: Difference, start: Checkpoint) -> Summary:
    return summarize(difference, base_norms(start), 1000)


@pytest.mark.parametrize("strip", [100, 1 << 22])
def test_moments(strip: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STRIP", strip)
    start = Checkpoint(base(tmp_path / "b"))
    found = read_difference(adapter(tmp_path / "a", start.folder, modules_to_save=["model.norm"]), start)
    summary = figures(found, start)
    sets = {name: found.dense(name).double().flatten().numpy() for name in found.names}
    theta = {name: start.read(name).double().flatten().numpy() for name in start.names}
    beside = {"whole": np.concatenate(list(theta.values()))} | theta
    for name, moments in {"whole": summary.whole, **summary.tensors}.items():
        numbers = sets.get(name, whole_of(found))
        assert moments.count == len(numbers)
        assert moments.mean == pytest.approx(numbers.mean(), rel=1e-9)
        assert moments.variance == pytest.approx(numbers.var(), rel=1e-9)
        assert moments.kurtosis == pytest.approx(stats.kurtosis(numbers, fisher=False), rel=1e-9)
        assert moments.norm == pytest.approx(np.linalg.norm(numbers), rel=1e-9)
        assert moments.relative_norm == pytest.approx(np.linalg.norm(numbers) / np.linalg.norm(beside[name]), rel=1e-6)
        outside = np.abs(numbers - numbers.mean()) > 3 * numbers.std()
        assert moments.beyond_3_sigma == outside.mean()
    assert summary.whole.beyond_3_sigma > 0.0027  # products of two Gaussians have heavy tails
    edges = np.array([-np.inf, *summary.histogram["edges_in_sigma"][1:-1], np.inf])
    standard = (whole_of(found) - whole_of(found).mean()) / whole_of(found).std()
    counts, _ = np.histogram(standard, edges)
    assert len(counts) == BINS
    assert summary.histogram["share"] == pytest.approx(counts / len(standard), abs=2e-4)


def test_gaussian_numbers_look_gaussian(tmp_path: Path) -> None:
    start = Checkpoint(base(tmp_path))
    numbers = torch.randn(400, 500, generator=torch.Generator().manual_seed(0))
    summary = figures(Difference("x", None, None, {"x": Lazy((400, 500), lambda: numbers)}), start)
    assert summary.whole.beyond_3_sigma == pytest.approx(0.0027, abs=4e-4)
    assert summary.whole.kurtosis == pytest.approx(3, abs=0.05)
    assert summary.as_dict()["gaussian"]["beyond_3_sigma"] == pytest.approx(0.0027, abs=1e-6)
    assert summary.tensors["x"].relative_norm is None  # the base has no such tensor


def test_most_changed_layers(tmp_path: Path) -> None:
    start = Checkpoint(base(tmp_path / "b"))
    one = read_difference(moved(tmp_path / "e", start.folder, only="layers.1.mlp"), start)
    summary = figures(one, start)
    assert [layer.name for layer in summary.layers] == ["model.layers.1"]
    mlp = [name for name in start.names if "layers.1.mlp" in name]
    everything = [name for name in start.names if "layers.1." in name]
    expected = math.hypot(*(float(one.dense(name).norm()) for name in mlp))
    expected /= math.hypot(*(float(start.read(name).norm()) for name in everything))
    assert summary.most_changed[0].relative_norm == pytest.approx(expected, rel=1e-5)
    assert set(summary.tensors) == set(mlp)  # what is exactly zero is not there


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("model.layers.10.mlp.up_proj.weight", "model.layers.10"),
        ("backbone.layers.3.mixer.in_proj.weight", "backbone.layers.3"),
        ("transformer.h.0.attn.c_attn.bias", "transformer.h.0"),
        ("model.embed_tokens.weight", "model.embed_tokens"),
    ],
)
def test_layer_of(name: str, layer: str) -> None:
    assert layer_of(name) == layer


def test_cosines_through_factors_are_those_of_dense_vectors(tmp_path: Path) -> None:
    start = Checkpoint(base(tmp_path / "b"))
    experts = [
        read_difference(adapter(tmp_path / "a", start.folder), start),
        read_difference(
            adapter(tmp_path / "c", start.folder, seed=5, r=2, target_modules=["q_proj", "up_proj"]), start
        ),
        read_difference(moved(tmp_path / "e", start.folder), start).normalized(),
        read_difference(start.folder, start),
    ]
    dense = [np.concatenate([_at(each, name, start) for name in start.names]) for each in experts[:3]]
    found = cosines(experts)
    for i, one in enumerate(dense):
        for j, other in enumerate(dense):
            expected = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
            assert found[i][j] == pytest.approx(expected, abs=1e-6)
    assert found[3] == [None] * 4
    assert [found[i][i] for i in range(3)] == [1.0] * 3


def _at(difference: Difference, name: str, start: Checkpoint) -> np.ndarray:
    dense = difference.dense(name) if name in difference.names else torch.zeros(start.shape(name))
    return dense.double().flatten().numpy()


def test_an_expert_that_changed_nothing(tmp_path: Path) -> None:
    start = Checkpoint(base(tmp_path))
    summary = figures(read_difference(start.folder, start, "same"), start)
    assert str(summary) == "same: differs in nothing from its base"
    assert (summary.whole.count, summary.whole.norm, summary.whole.kurtosis) == (0, 0.0, None)


def test_the_line_of_the_source_is_a_check_with_a_remark(tmp_path: Path) -> None:
    start = Checkpoint(base(tmp_path / "b"))
    for size, met in ((0.001, True), (1.0, False)):
        summary = figures(read_difference(moved(tmp_path / f"e{met}", start.folder, size=size), start), start)
        assert summary.check["met"] is met
        assert "count" in summary.check["remark"]
        assert f"norm < 1.0: {'met' if met else 'not met'}" in str(summary)
