"""What a difference between two models must and must not depend on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from curricle import DifficultyScorer
from curricle.difficulty.matching import by_depth, by_likeness, cka
from curricle.difficulty.scores import scores
from curricle.difficulty.spaces import differences, fit_cloud, fit_edge, ridge_map, rotation, unit_ranks
from curricle.difficulty.states import StateReader
from support import VOCAB, model

SAMPLES, CALIBRATION, LAYERS = 30, 80, 3
SPACES: list[Any] = ["rsa", "ridge", "procrustes", "none"]
ROTATED: list[Any] = ["rsa", "ridge", "procrustes"]
METRICS = ["l2", "cosine"]


def states(num: int, width: int, seed: int) -> Tensor:
    """Correlated dimensions of very different sizes, as those of real models are."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=torch.Generator().manual_seed(100 + width)) / width**0.5
    sizes = torch.linspace(-2, 2, width).exp()
    return torch.randn(num, LAYERS, width, generator=generator) @ mix * sizes + 1


def orthogonal(width: int, seed: int = 7) -> Tensor:
    return torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(seed)))[0]


def related(width: int, num: int, seed: int) -> tuple[Tensor, Tensor]:
    """States of a cloud model, and of an edge model that sees half of the same."""
    cloud = states(num, 24, seed)
    edge = cloud @ states(24, width, 99)[:, 0] + 5 * states(num, width, seed + 50)
    return edge, cloud


Pair = tuple[Tensor, Tensor]


def difference(
    space: Any, metric: str, calibration: Pair, samples: Pair, ridge: float = 1.0, standardize: Any = "dimension"
) -> Tensor:
    cloud = fit_cloud(space, calibration[1], standardize)
    edge = fit_edge(space, *calibration, cloud, ridge, standardize)
    return differences(metric, edge.features(samples[0]), cloud.features(samples[1]))


# ---- the same model twice


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("space", ["rsa", "procrustes", "none"])
def test_a_model_does_not_differ_from_itself(space: Any, metric: str) -> None:
    known, new = states(CALIBRATION, 24, 0), states(SAMPLES, 24, 1)
    assert difference(space, metric, (known, known), (new, new)).max() < (1e-4 if metric == "l2" else 1e-6)


def test_ridge_sees_none_either_as_its_penalty_goes() -> None:
    known, new = states(CALIBRATION, 24, 0), states(SAMPLES, 24, 1)
    penalties = (1, 1e-2, 1e-4, 1e-8)
    found = [float(difference("ridge", "l2", (known, known), (new, new), one).mean()) for one in penalties]
    assert found == sorted(found, reverse=True)
    assert found[-1] < 1e-4


@pytest.mark.parametrize("normalize", ["zscore", "rank"])
def test_rounding_is_no_difficulty(normalize: Any) -> None:
    """Of a model against itself all that is left is float32; standardised, it would order the data by nothing."""
    known, new = states(CALIBRATION, 24, 0), states(SAMPLES, 24, 1)
    layers = difference("rsa", "cosine", (known, known), (new, new + 1e-7)).numpy()
    assert layers.any()
    for values in scores(layers, [str(i) for i in range(SAMPLES)], normalize=normalize).values():
        assert np.ptp(values) == 0


# ---- rotations and scales


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("space", ROTATED)
@pytest.mark.parametrize("which", [0, 1], ids=["edge", "cloud"])
def test_a_rotation_of_either_model_changes_nothing(space: Any, metric: str, which: int) -> None:
    """The control: how a model happens to lay out its dimensions is no difficulty."""
    known, new = related(20, CALIBRATION, 0), related(20, SAMPLES, 1)
    plain = difference(space, metric, known, new, standardize="whole")
    turn = orthogonal(known[which].shape[2])
    turned = [[side @ turn if i == which else side for i, side in enumerate(pair)] for pair in (known, new)]
    found = difference(space, metric, *map(tuple, turned), standardize="whole")  # type: ignore[arg-type]
    torch.testing.assert_close(found, plain, atol=2e-4, rtol=1e-3)
    assert plain.std() > 0.05


@pytest.mark.parametrize("space", ROTATED)
def test_a_rotation_behind_the_standardising_of_dimensions_changes_nothing(space: Any) -> None:
    """Dimensions that are of one size by themselves need no standardising, and turning them leaves nothing to do."""
    known, new = related(20, 4000, 0), related(20, SAMPLES, 1)
    known, new = (_white(known, known), _white(known, new))
    plain = difference(space, "cosine", known, new)
    turn = orthogonal(20)
    found = difference(space, "cosine", (known[0] @ turn, known[1]), (new[0] @ turn, new[1]))
    torch.testing.assert_close(found, plain, atol=2e-3, rtol=1e-3)


def _white(known: Pair, given: Pair) -> Pair:
    """Uncorrelated dimensions of spread 1, in both models, layer by layer."""
    made = []
    for fitted, side in zip(known, given, strict=True):
        layers = []
        for layer in range(LAYERS):
            x, y = fitted[:, layer].double(), side[:, layer].double()
            values, axes = torch.linalg.eigh(torch.cov(x.T, correction=0))
            layers.append(((y - x.mean(0)) @ axes / values.sqrt()).float())
        made.append(torch.stack(layers, 1))
    return made[0], made[1]


@pytest.mark.parametrize("space", SPACES)
def test_the_scale_and_origin_of_a_model_do_not_matter(space: Any) -> None:
    known, new = related(24, CALIBRATION, 0), related(24, SAMPLES, 1)
    plain = difference(space, "cosine", known, new)
    moved = difference(space, "cosine", (known[0] * 50 - 3, known[1]), (new[0] * 50 - 3, new[1]))
    torch.testing.assert_close(moved, plain, atol=1e-3, rtol=1e-3)


def test_cka_knows_no_rotation_and_no_scale() -> None:
    edge, cloud = (side[:, 0] for side in related(20, CALIBRATION, 0))
    plain = cka(edge, cloud)
    assert 0.05 < plain < 1
    assert cka(edge @ orthogonal(20) * 30, cloud @ orthogonal(24) / 7 + 2) == pytest.approx(plain, abs=1e-5)
    assert cka(edge, edge) == pytest.approx(1)


def test_procrustes_finds_a_rotation_back() -> None:
    one = states(CALIBRATION, 24, 0)[:, 0]
    turn = orthogonal(24)
    torch.testing.assert_close(rotation(one, one @ turn), turn, atol=1e-4, rtol=1e-4)


def test_procrustes_leaves_what_the_nuclear_norm_says_and_no_rotation_leaves_less() -> None:
    """|X R - Y|^2 = |X|^2 + |Y|^2 - 2 |X' Y|_* at the best R."""
    edge, cloud = (side[:, 0].double() for side in related(24, CALIBRATION, 0))
    best = (edge @ rotation(edge, cloud).double() - cloud).square().sum()
    nuclear = torch.linalg.svdvals(edge.T @ cloud).sum()
    torch.testing.assert_close(best, edge.square().sum() + cloud.square().sum() - 2 * nuclear, rtol=1e-5, atol=1e-5)
    for seed in range(20):
        assert (edge @ orthogonal(24, seed).double() - cloud).square().sum() > best


def test_ranks_know_no_monotone_rescaling() -> None:
    likeness = states(SAMPLES, 24, 0)[:, 0]
    assert torch.equal(unit_ranks(likeness), unit_ranks(torch.exp(likeness / 3) * 9 - 1))
    assert torch.equal(unit_ranks(likeness), -unit_ranks(-likeness))


def test_rsa_is_one_less_spearmans_correlation() -> None:
    from scipy.stats import spearmanr

    known, new = related(20, CALIBRATION, 0), related(20, SAMPLES, 1)
    found = difference("rsa", "cosine", known, new)
    likeness = []
    for anchors, given in zip(known, new, strict=True):
        mean, scale = anchors.mean(0), anchors.std(0, correction=0)
        a, s = ((each - mean) / scale for each in (anchors, given))
        likeness.append(torch.nn.functional.cosine_similarity(s[:, None], a[None], dim=-1))
    for n, layer in ((0, 0), (7, 2), (29, 1)):
        slow = 1 - spearmanr(likeness[0][n, :, layer].numpy(), likeness[1][n, :, layer].numpy()).statistic
        assert float(found[n, layer]) == pytest.approx(slow, abs=1e-5)
    torch.testing.assert_close(difference("rsa", "l2", known, new).square(), 2 * found, atol=1e-5, rtol=1e-4)


# ---- ridge


@pytest.mark.parametrize("num", [12, 60], ids=["fewer samples than dimensions", "more"])
@pytest.mark.parametrize("ridge", [1e-6, 1.0, 100.0])
def test_ridge_fits_no_worse_than_the_mean(num: int, ridge: float) -> None:
    edge, cloud = (side[:, 0] - side[:, 0].mean(0) for side in related(20, num, 0))
    residual = (cloud - edge @ ridge_map(edge, cloud, ridge)).square().sum()
    assert residual <= cloud.square().sum() * (1 + 1e-6)


def test_both_forms_of_ridge_are_one() -> None:
    edge, cloud = (side[:, 0] for side in related(20, 20, 0))
    primal = ridge_map(edge, cloud, 0.1)
    dual = ridge_map(edge[:19], cloud[:19], 0.1)
    x, y = edge[:19].double(), cloud[:19].double()
    expected = torch.linalg.solve(x.T @ x + 1.9 * torch.eye(20), x.T @ y)
    torch.testing.assert_close(dual.double(), expected, atol=1e-4, rtol=1e-4)
    assert primal.shape == dual.shape


# ---- samples do not see each other


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_batches_padding_and_order_do_not_matter(kind: str) -> None:
    net = model(kind, num_hidden_layers=3)
    rng = np.random.default_rng(0)
    prompts = [rng.integers(4, VOCAB, length).tolist() for length in rng.integers(1, 60, 40)]
    plain = StateReader(net, token_budget=64).read(prompts)
    order = rng.permutation(40)
    for budget, packed in ((1, True), (7, False), (500, True), (500, False)):
        found = StateReader(net, token_budget=budget, packed=packed).read([prompts[i] for i in order])
        torch.testing.assert_close(found, plain[order], atol=1e-5, rtol=0)


@pytest.mark.parametrize("space", SPACES)
def test_differences_follow_their_samples(space: Any) -> None:
    known, new = related(24, CALIBRATION, 0), related(24, SAMPLES, 1)
    plain = difference(space, "cosine", known, new)
    order = torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(0))
    moved = difference(space, "cosine", known, (new[0][order], new[1][order]))
    torch.testing.assert_close(moved, plain[order], atol=1e-5, rtol=0)


# ---- scores


@pytest.mark.parametrize("normalize", ["zscore", "rank", "none"])
@pytest.mark.parametrize("top_k", [1, 3, 5, 9])
def test_scores_keep_their_order(normalize: Any, top_k: int) -> None:
    layers = np.random.default_rng(0).lognormal(size=(200, 5)).astype(np.float32)
    ids = [str(i) for i in range(200)]
    found = scores(layers, ids, top_k=top_k, normalize=normalize)
    assert (found["mean"] <= found["topk_mean"]).all()
    assert (found["topk_mean"] <= found["max"]).all()
    if top_k >= 5:
        np.testing.assert_allclose(found["topk_mean"], found["mean"], atol=1e-6)
    if top_k == 1:
        np.testing.assert_array_equal(found["topk_mean"], found["max"])
    even = scores(layers, ids, weights=[2.0] * 5, normalize=normalize)
    np.testing.assert_allclose(even["weighted_mean"], found["mean"], atol=1e-6)
    order = np.random.default_rng(1).permutation(200)
    moved = scores(layers[order], ids, top_k=top_k, normalize=normalize)
    for name, values in found.items():
        np.testing.assert_allclose(moved[name], values[order], atol=1e-6)


def test_the_sources_scorer_gives_the_scores_of_the_label_file() -> None:
    layers = np.random.default_rng(0).lognormal(size=(40, 5)).astype(np.float32)
    many = [dict(enumerate(row)) for row in layers.tolist()]
    expected = scores(layers, [str(i) for i in range(40)], top_k=2)
    scorer = DifficultyScorer(num_layers=5, top_k=2).fit(many)
    for name, values in expected.items():
        found = [scorer.compute_difficulty_scores(one)[name] for one in many]
        np.testing.assert_allclose(found, values, atol=1e-5)


# ---- layers


@pytest.mark.parametrize("num_cloud", range(1, 40, 3))
@pytest.mark.parametrize("num_edge", range(1, 40, 3))
def test_depth_matching_is_monotone_and_reaches_the_end(num_edge: int, num_cloud: int) -> None:
    found = by_depth(num_edge, num_cloud)
    assert len(found) == num_edge
    assert found == sorted(found)
    assert found[0] >= 1
    assert found[-1] == num_cloud
    if num_edge == num_cloud:
        assert found == list(range(1, num_edge + 1))


def test_likeness_matching_is_monotone_and_the_identity_for_one_model() -> None:
    edge, cloud = related(20, CALIBRATION, 0)
    found = by_likeness(edge, cloud)
    assert found == sorted(found)
    assert by_likeness(cloud, cloud) == [1, 2, 3]
