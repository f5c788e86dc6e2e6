"""The methods against slow references, a number at a time in float64."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from curricle.experts.difference import Factors
from curricle.experts.merging.methods import Options, combine, drop, elect, trim
from curricle.experts.merging.rounding import cast


def tensors(number: int = 3, rows: int = 6, columns: int = 5) -> list[torch.Tensor]:
    return list(torch.randn(number, rows, columns, generator=torch.Generator().manual_seed(3)))


def slow_linear(base: float, changes: list[float], weights: list[float], divided: bool, scale: float) -> float:
    total = math.fsum(weight * change for weight, change in zip(weights, changes, strict=True))
    return base + scale * (total / math.fsum(weights) if divided else total)


def slow_ties(base: float, changes: list[float], weights: list[float], divided: bool, scale: float) -> float:
    """Changes trimmed already: 0 has no sign and takes no part."""
    weighted = [weight * change for weight, change in zip(weights, changes, strict=True)]
    sign = 1 if math.fsum(weighted) >= 0 else -1
    agree = [i for i, change in enumerate(weighted) if change * sign > 0]
    total = math.fsum(weighted[i] for i in agree)
    weight = math.fsum(weights[i] for i in agree)
    return base + scale * (total / weight if divided and weight else total)


def slow_trim(numbers: list[float], density: float) -> list[float]:
    keep = max(1, int(density * len(numbers)))
    largest = sorted(range(len(numbers)), key=lambda i: (-abs(numbers[i]), i))[:keep]
    return [number if i in largest else 0.0 for i, number in enumerate(numbers)]


@pytest.mark.parametrize("divided", [False, True])
@pytest.mark.parametrize("scale", [1.0, 0.7])
@pytest.mark.parametrize("weights", [[0.5, 0.3, 0.2], [1.5, -0.4, 0.0], [1.0, 1.0, 1.0]])
def test_linear(divided: bool, scale: float, weights: list[float]) -> None:
    base, *changes = tensors(4)
    found = combine(base, changes, weights, Options("linear", divided, scale))
    for i, j in itertools.product(range(6), range(5)):
        each = [float(change[i, j]) for change in changes]
        assert found[i, j] == pytest.approx(slow_linear(float(base[i, j]), each, weights, divided, scale), abs=1e-6)


def test_factors_stay_factors_until_they_are_added() -> None:
    base, change = tensors(2)
    draw = torch.Generator().manual_seed(0)
    low = Factors(torch.randn(6, 2, generator=draw), torch.randn(2, 5, generator=draw), 1.5)
    found = combine(base, [low, change, None], [0.4, -1.0, 5.0])
    torch.testing.assert_close(found, base + 0.4 * 1.5 * low.up @ low.down - change, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("divided", [False, True])
@pytest.mark.parametrize("density", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("weights", [[0.5, 0.3, 0.2], [1.0, -0.4, 0.9]])
def test_ties(divided: bool, density: float, weights: list[float]) -> None:
    base, *changes = tensors(4)
    found = combine(base, changes, weights, Options("ties", divided, 0.9, (density,) * 3)).flatten()
    trimmed = [slow_trim(change.flatten().tolist(), density) for change in changes]
    for i, start in enumerate(base.flatten().tolist()):
        each = [change[i] for change in trimmed]
        assert found[i] == pytest.approx(slow_ties(start, each, weights, divided, 0.9), abs=1e-6)


def test_ties_without_an_expert_leaves_it_out() -> None:
    base, *changes = tensors(4)
    options = Options("ties", True, 1.0, (0.5, 0.5, 0.5))
    found = combine(base, [changes[0], None, changes[2]], [0.5, 0.3, 0.2], options)
    two = Options("ties", True, 1.0, (0.5, 0.5))
    assert found.equal(combine(base, [changes[0], changes[2]], [0.5, 0.2], two))


def test_trim_keeps_exactly_the_share_and_the_first_of_equals() -> None:
    numbers = torch.tensor([1.0, -1.0, 1.0, 0.5, 1.0, 0.0])
    assert trim(numbers, 0.5).tolist() == [1.0, -1.0, 1.0, 0.0, 0.0, 0.0]
    assert trim(numbers, 0.01).tolist() == [1.0, 0, 0, 0, 0, 0]
    assert trim(numbers, 0.0).tolist() == [0.0] * 6
    assert trim(torch.zeros(0), 0.5).tolist() == []


def test_trim_equals_the_slow_one() -> None:
    numbers = torch.randint(-4, 5, (40,), generator=torch.Generator().manual_seed(1)).float()
    for density in (0.1, 0.33, 0.5, 0.9):
        assert trim(numbers, density).tolist() == slow_trim(numbers.tolist(), density)


def test_drop_keeps_the_mean() -> None:
    change = torch.randn(50, 40, generator=torch.Generator().manual_seed(2))
    mean = torch.stack([drop(change, 0.3, seed) for seed in range(400)]).mean(0)
    assert float((mean - change).abs().mean()) < 0.1
    kept = drop(change, 0.3, 1)
    assert 0.25 < float((kept != 0).float().mean()) < 0.35
    assert kept[kept != 0].equal((change / 0.3)[kept != 0])


@pytest.mark.parametrize(("rescale", "factor"), [("none", 1.0), ("density", 4.0), ("norm", None)])
def test_drop_rescales(rescale: str, factor: float | None) -> None:
    change = tensors(1)[0]
    kept = drop(change, 0.25, 5, rescale)  # type: ignore[arg-type]
    stays = kept != 0
    if factor is None:
        assert float(kept.abs().sum()) == pytest.approx(float(change.abs().sum()), rel=1e-6)
        factor = float(kept[stays][0] / change[stays][0])
    torch.testing.assert_close(kept[stays], factor * change[stays])


def test_dare_draws_by_seed_alone() -> None:
    base, *changes = tensors(3)
    options = Options("dare_linear", densities=(0.5, 0.5))
    found = combine(base, changes, [0.5, 0.5], options, [11, 12])
    assert found.equal(combine(base, changes, [0.5, 0.5], options, [11, 12]))
    assert not found.equal(combine(base, changes, [0.5, 0.5], options, [11, 13]))
    by_hand = base + 0.5 * drop(changes[0], 0.5, 11) + 0.5 * drop(changes[1], 0.5, 12)
    torch.testing.assert_close(found, by_hand, rtol=1e-6, atol=1e-6)


def test_dare_ties_elects_among_what_is_left() -> None:
    base, *changes = tensors(3)
    found = combine(base, changes, [0.5, 0.7], Options("dare_ties", True, 1.0, (0.5, 0.5)), [1, 2])
    left = [weight * drop(change, 0.5, seed) for weight, change, seed in zip([0.5, 0.7], changes, [1, 2], strict=True)]
    assert found.equal(base + elect(left, [0.5, 0.7], True, base))


@pytest.mark.parametrize("method", ["linear", "ties", "dare_linear", "dare_ties"])
def test_nothing_given_is_changed(method: str) -> None:
    """Functions of tensors: mapped files and factors are read only."""
    given = tensors(4)
    before = [tensor.clone() for tensor in given]
    combine(given[0], given[1:], [0.5, 0.3, 0.2], Options(method, True, 0.5, (1.0, 0.5, 0.5)), [1, 2, 3])
    assert all(one.equal(other) for one, other in zip(given, before, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_stochastic_rounding_is_right_in_the_mean(dtype: torch.dtype) -> None:
    value = torch.tensor([1.001, -0.3337, 3e-6, 1234.567, -2e-20])
    mean = torch.stack([cast(value, dtype, seed).double() for seed in range(3000)]).mean(0)
    nearest = cast(value, dtype).double()
    step = (torch.nextafter(value.to(dtype), torch.tensor(float("inf"), dtype=dtype)).double() - nearest).abs()
    assert bool(((mean - value.double()).abs() < 0.04 * step + 1e-12).all())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_stochastic_rounding_takes_a_neighbour_and_leaves_what_fits(dtype: torch.dtype) -> None:
    fits = torch.randn(2000, generator=torch.Generator().manual_seed(4)).to(dtype)
    fits = torch.cat([fits, torch.tensor([0.0, 1.0, -255.0, 2047.0, 1e-7], dtype=dtype)])
    assert cast(fits.float(), dtype, 7).equal(fits)
    value = torch.randn(2000, generator=torch.Generator().manual_seed(5))
    rounded = cast(value, dtype, 8)
    assert rounded.equal(cast(value, dtype, 8))
    assert not rounded.equal(cast(value, dtype, 9))
    ulp = value.abs() * (2.0**-7 if dtype is torch.bfloat16 else 2.0**-10) + 1e-7
    assert bool(((rounded.float() - value).abs() <= ulp).all())
