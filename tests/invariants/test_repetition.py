"""METHODS 7, repeated data: published losses to nine digits, the shape of the law, and draws that nothing beats."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from curricle.planning.repetition.law import MUENNIGHOFF, mix, worth
from curricle.planning.scaling.fitting import DELTA


@pytest.mark.parametrize(
    ("params", "tokens", "loss"), [(6.34e9, 242e9, 2.2256440889984477), (8.67e9, 178e9, 2.2269634075087867)]
)
def test_golden_losses(params: float, tokens: float, loss: float) -> None:
    assert MUENNIGHOFF.loss(params, tokens, 25e9) == pytest.approx(loss, abs=1e-9)


def test_the_published_fit(shared_data: Path) -> None:
    file = shared_data / "scaling_laws" / "datablations_c4_val_losses_182.txt"
    rows = [[float(cell) * 1e9 for cell in line.split()[1:]] for line in file.read_text().splitlines()]
    assert len(rows) == 182
    errors = [abs(np.log(MUENNIGHOFF.loss(n, d, u)) - np.log(loss / 1e9)) for n, d, u, loss in rows]
    huber = sum(each**2 / 2 if each <= DELTA else DELTA * (each - DELTA / 2) for each in errors)
    assert huber == pytest.approx(0.0158259353, abs=1e-9)


@pytest.mark.parametrize(
    ("epochs", "value"),
    [(1, 1.0), (2, 1.968), (4, 3.726), (8, 6.624), (16, 10.58), (40, 15.17), (60, 16.06), (1e9, 16.388)],
)
def test_golden_worth_of_epochs(epochs: float, value: float) -> None:
    assert MUENNIGHOFF.effective_tokens(epochs * 3e9, 3e9) / 3e9 == pytest.approx(value, abs=6e-3)


def test_the_size_for_fresh_tokens_is_the_optimum() -> None:
    assert MUENNIGHOFF.law.balance == pytest.approx(0.225802, abs=1e-6)
    assert MUENNIGHOFF.best_params(1e9) == pytest.approx(0.05099e9, rel=1e-3)
    best = replace(MUENNIGHOFF.law, beta=0.3).optimum(1e21)
    assert replace(MUENNIGHOFF, law=replace(MUENNIGHOFF.law, beta=0.3)).best_params(best.tokens) == pytest.approx(
        best.params
    )


def test_the_shape_of_worth() -> None:
    amounts = np.linspace(1, 200, 400) * 1e9
    values = np.array([worth(amount, 1e9, 15.0) for amount in amounts])
    gains = np.diff(values)
    assert worth(0.4e9, 1e9, 15.0) == 0.4e9
    assert values[0] == 1e9
    assert (gains > 0).all()
    assert (np.diff(gains) < 0).all()
    assert values[-1] < 1e9 * (1 + 15.0)
    assert worth(40e9, 1e9, 1e12) == pytest.approx(40e9)


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1])
def test_the_next_epoch_is_the_slope(share: float) -> None:
    epochs = MUENNIGHOFF.epochs_worth(share)
    slope = (MUENNIGHOFF.effective_tokens(epochs + 1e-5, 1) - MUENNIGHOFF.effective_tokens(epochs - 1e-5, 1)) / 2e-5
    assert MUENNIGHOFF.next_epoch(epochs) == pytest.approx(share)
    assert slope == pytest.approx(share, rel=1e-6)


def test_with_enough_tokens_the_optimum_is_that_of_fresh_ones() -> None:
    free = MUENNIGHOFF.law.optimum(1e21)
    found = MUENNIGHOFF.optimum(1e21, unique=1e15)
    assert (found.params, found.loss) == pytest.approx((free.params, free.loss), rel=1e-4)


def test_where_tokens_run_out_the_optimum_beats_its_neighbours() -> None:
    flops, unique = 1e22, 10e9
    best = MUENNIGHOFF.optimum(flops, unique)
    assert best.params * best.tokens * 6 == pytest.approx(flops)
    for factor in (0.5, 0.98, 1.02, 2.0):
        assert MUENNIGHOFF.loss(best.params * factor, best.tokens / factor, unique) > best.loss
    assert best.loss > MUENNIGHOFF.law.optimum(flops).loss
    assert best.tokens > unique


@pytest.mark.parametrize("value", [1.0, 0.6, 0.05])
@pytest.mark.parametrize("tokens", [0.5, 4.0, 12.0, 300.0])
def test_no_other_draw_is_worth_more(value: float, tokens: float) -> None:
    real, synthetic = 1.0, 5.0
    best = mix(MUENNIGHOFF, tokens, real, synthetic, value)
    assert best.real + best.synthetic == pytest.approx(tokens)
    star = MUENNIGHOFF.tokens_star
    others = [
        worth(of, real, star) + value * worth(tokens - of, synthetic, star) for of in np.linspace(0, tokens, 2001)
    ]
    assert max(others) <= best.effective * (1 + 1e-12)
    assert max(others) == pytest.approx(best.effective, rel=1e-3)
