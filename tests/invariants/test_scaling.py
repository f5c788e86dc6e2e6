"""METHODS 7, scaling laws: optima are optima, constants come back from noiseless runs, published figures are met."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from curricle.planning.scaling.fitting import fit_law, huber_sum
from curricle.planning.scaling.law import PRESETS, Law
from curricle.planning.scaling.runs import Runs, read_runs

NAMES = list(PRESETS)
NOTEBOOK = Law(math.exp(0.59711196), math.exp(6.17795598), math.exp(7.64273236), 0.34781303, 0.36585412)
"""Besiroglu et al., before rounding."""
CONSTANTS = ("E", "A", "B", "alpha", "beta")


def runs_of(law: Law, noise: float = 0.0) -> Runs:
    params, tokens = (each.ravel() for each in np.meshgrid(np.logspace(7, 10, 6), np.logspace(9, 12, 6)))
    errors = np.random.default_rng(0).normal(0, noise, len(params))
    return Runs(params, tokens, law.loss(params, tokens) * np.exp(errors))


@pytest.mark.parametrize(
    ("name", "flops", "params", "tokens", "per_param"),
    [
        ("hoffmann-rounded", 1e20, 6.4486e8, 2.5846e10, 40.08),
        ("hoffmann-rounded", 5.76e23, 3.219e10, 2.982e12, 92.6),
        ("epoch", 1e20, 8.5348e8, 1.9528e10, 22.88),
        ("epoch", 5.76e23, 7.2249e10, 1.3287e12, 18.39),
    ],
)
def test_golden_optima(name: str, flops: float, params: float, tokens: float, per_param: float) -> None:
    best = PRESETS[name].optimum(flops)
    assert (best.params, best.tokens) == pytest.approx((params, tokens), rel=4e-4)
    assert best.tokens / best.params == pytest.approx(per_param, abs=0.05)


@pytest.mark.parametrize(("name", "loss"), [("hoffmann-rounded", 1.93665), ("epoch", 1.97388)])
def test_golden_losses(name: str, loss: float) -> None:
    assert PRESETS[name].loss(70e9, 1.4e12) == pytest.approx(loss, abs=2e-5)


def test_the_doubling_rule() -> None:
    assert PRESETS["hoffmann-rounded"].doubling() == pytest.approx((1.368, 1.462), abs=5e-4)
    assert Law(1.0, 400.0, 400.0, 0.3, 0.3).doubling() == pytest.approx((2**0.5, 2**0.5))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("flops", [1e15, 1e20, 1e25])
def test_the_loss_is_flat_at_the_optimum_and_more_beside_it(name: str, flops: float) -> None:
    law = PRESETS[name]
    best = law.optimum(flops)
    assert best.params * best.tokens == pytest.approx(flops / 6)

    def beside(factor: float) -> float:
        return law.loss(best.params * factor, best.tokens / factor)

    slope = (beside(1.001) - beside(1 / 1.001)) / np.log(1.001) / 2
    assert abs(slope) < 1e-5 * (best.loss - law.E)
    assert min(beside(1.1), beside(1 / 1.1)) > best.loss


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("served", [0.0, 1e9, 1e12, 1e15])
def test_the_cheapest_model_that_serves(name: str, served: float) -> None:
    """Against a fine search; nothing served is the compute optimum, more served is a smaller model, trained longer."""
    law = PRESETS[name]
    best = law.optimum(1e21)
    found = law.serving_optimum(best.loss, served)
    assert found.loss == pytest.approx(best.loss)
    above = best.loss - law.E
    shares = np.linspace(1e-4, 1 - 1e-4, 200_000)
    params, tokens = (law.A / (shares * above)) ** (1 / law.alpha), (law.B / ((1 - shares) * above)) ** (1 / law.beta)
    cost = 6 * params * tokens + 2 * params * served
    assert found.flops(served) <= cost.min() * (1 + 1e-9)
    assert found.flops(served) == pytest.approx(cost.min(), rel=1e-3 if served < 1e15 else 0.2)
    more = law.serving_optimum(best.loss, 2 * served + 1e10)
    assert more.params < found.params <= best.params * (1 + 1e-9)
    assert more.tokens > found.tokens >= best.tokens * (1 - 1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_constants_come_back_from_noiseless_runs(name: str) -> None:
    law = PRESETS[name]
    found = fit_law(runs_of(law), num_resamples=0).law
    for constant in CONSTANTS:
        assert getattr(found, constant) == pytest.approx(getattr(law, constant), rel=0.01)


def test_params_and_tokens_may_change_places() -> None:
    runs = runs_of(PRESETS["epoch"], noise=0.01)
    law = fit_law(runs, num_resamples=0).law
    turned = fit_law(Runs(runs.tokens, runs.params, runs.loss), num_resamples=0).law
    assert (turned.A, turned.alpha, turned.B, turned.beta) == pytest.approx(
        (law.B, law.beta, law.A, law.alpha), rel=1e-3
    )
    best, other = law.optimum(1e21), Law(law.E, law.B, law.A, law.beta, law.alpha).optimum(1e21)
    assert (best.params, best.tokens) == pytest.approx((other.tokens, other.params))


def test_the_published_fit(shared_data: Path) -> None:
    """Besiroglu et al.: 240 of the 245 points of Hoffmann's figure. A and B are nearly free along a valley."""
    file = shared_data / "scaling_laws" / "chinchilla_svg_extracted_data.csv"
    runs = read_runs([file], {"N": "Model Size", "C": "Training FLOP"}).without_highest(5)
    assert len(runs.loss) == 240
    assert huber_sum(NOTEBOOK, runs) == pytest.approx(0.00101864, abs=1e-8)
    assert huber_sum(PRESETS["hoffmann-rounded"], runs) == pytest.approx(0.00412101, abs=1e-8)
    fit = fit_law(runs, num_resamples=0)
    assert fit.objective == pytest.approx(huber_sum(fit.law, runs), abs=1e-12)
    assert fit.objective == pytest.approx(0.00101827, abs=1e-8)
    for constant, rel in {"E": 1e-3, "alpha": 2e-3, "beta": 4e-3, "A": 0.1, "B": 0.1}.items():
        assert getattr(fit.law, constant) == pytest.approx(getattr(NOTEBOOK, constant), rel=rel)
    assert (fit.law.E, fit.law.alpha, fit.law.beta) == pytest.approx((1.8172, 0.34731, 0.36717), rel=1e-4)
