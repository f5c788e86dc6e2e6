"""The law fitted to runs: Huber loss on the logarithm of the loss, from many starts, with bootstrap intervals.

As Hoffmann et al. do it: log L is a log-sum-exp of (a - alpha log N, b - beta log D, e), and the errors are *summed* (a
mean is so small that L-BFGS stops early, which is where the published constants went wrong, Besiroglu et al. 2024).
log N and log D are centred first: a and alpha then hardly depend on each other, and every start finds the same optimum.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from .law import Law
from .runs import Runs

Array = NDArray[np.float64]

DELTA = 1e-3
NUM_CONSTANTS = 5
NUM_POLISHED = 24
"""So many of the starts, those of least error, are followed to their end."""
LEAST_DIFFERENT = 3
"""A and alpha are two unknowns beside E, so two sizes cannot tell them apart; the same holds for tokens."""
ALIKE = 0.9999
BOUNDS = [(None, None)] * 3 + [(1e-3, 3.0)] * 2


@dataclass(frozen=True)
class Fit:
    """The best law, the sum of Huber errors it leaves, and the laws of resampled runs."""

    law: Law
    objective: float
    resampled: tuple[Law, ...]


def fit_law(runs: Runs, *, num_resamples: int = 200, seed: int = 0) -> Fit:
    """Resamples that cannot be fitted (of one size only, say) are left out."""
    check_runs(runs)
    problem = _Problem(runs)
    ones = np.ones(len(runs.loss))
    starts = _starts(problem)
    found = min((problem.descend(start, ones) for start in starts), key=lambda each: each[0])
    rng = np.random.default_rng(seed)
    laws = []
    for _ in range(num_resamples):
        drawn = rng.integers(len(runs.loss), size=len(runs.loss))
        if why_not(runs.take(drawn)) is None:
            counts = np.bincount(drawn, minlength=len(runs.loss)).astype(np.float64)
            tries = [problem.descend(start, counts) for start in (found[1], starts[0], starts[1])]
            laws.append(problem.law(min(tries, key=lambda each: each[0])[1]))
    return Fit(problem.law(found[1]), found[0], tuple(laws))


def huber_sum(law: Law, runs: Runs) -> float:
    """What the fit makes small, of any law."""
    residuals = np.abs(np.log(law.loss(runs.params, runs.tokens)) - np.log(runs.loss))
    return float(np.where(residuals <= DELTA, residuals**2 / 2, DELTA * (residuals - DELTA / 2)).sum())


def check_runs(runs: Runs) -> None:
    """One line for runs that leave the constants open."""
    if why := why_not(runs):
        raise DataError(f"{runs.where}: {why}")


def why_not(runs: Runs) -> str | None:
    if (count := len(runs.loss)) < NUM_CONSTANTS:
        return f"{count} runs cannot fix {NUM_CONSTANTS} constants; give at least {NUM_CONSTANTS}, better 20."
    for name, values, of in (("N", runs.params, "models of other sizes"), ("D", runs.tokens, "runs of other lengths")):
        if (different := len(np.unique(values))) < LEAST_DIFFERENT:
            return (
                f"{different} different {name} in {count} runs, where the law needs at least {LEAST_DIFFERENT}; "
                f"add {of}."
            )
    if abs(np.corrcoef(np.log(runs.params), np.log(runs.tokens))[0, 1]) > ALIKE:
        return (
            "N and D grow together in all runs, so what each does cannot be told apart; vary one with the other kept."
        )
    return None


class _Problem:
    """The error of five numbers (a, b, e, alpha, beta), and its gradient, over centred logarithms."""

    def __init__(self, runs: Runs) -> None:
        n, d = np.log(runs.params), np.log(runs.tokens)
        self.middle = float(n.mean()), float(d.mean())
        self.n, self.d, self.log_loss = n - self.middle[0], d - self.middle[1], np.log(runs.loss)

    def error(self, at: Array, counts: Array) -> tuple[float, Array]:
        """In units of DELTA, so that the optimizer's own tolerances fit."""
        a, b, e, alpha, beta = at
        parts = np.stack([a - alpha * self.n, b - beta * self.d, np.full_like(self.n, e)])
        largest = parts.max(0)
        shares = np.exp(parts - largest)
        total = shares.sum(0)
        shares /= total
        residual = largest + np.log(total) - self.log_loss
        size = np.abs(residual)
        huber = np.where(size <= DELTA, residual**2 / 2, DELTA * (size - DELTA / 2))
        slope = counts * np.clip(residual, -DELTA, DELTA) * shares
        gradient = [*slope.sum(1), -(slope[0] * self.n).sum(), -(slope[1] * self.d).sum()]
        return float(counts @ huber) / DELTA, np.array(gradient) / DELTA

    def descend(self, start: Array, counts: Array) -> tuple[float, Array]:
        from scipy.optimize import minimize

        options = {"maxiter": 3000, "ftol": 1e-15, "gtol": 1e-9, "maxcor": 20}
        found = minimize(self.error, start, args=(counts,), jac=True, method="L-BFGS-B", bounds=BOUNDS, options=options)
        return float(found.fun) * DELTA, found.x

    def law(self, at: Array) -> Law:
        a, b, e, alpha, beta = (float(value) for value in at)
        A, B = np.exp(a + alpha * self.middle[0]), np.exp(b + beta * self.middle[1])
        return Law(float(np.exp(e)), float(A), float(B), alpha, beta)


def _starts(problem: _Problem) -> list[Array]:
    """A grid of 2,500: each term from a small part of the mean loss to all of it, exponents from 0.1 to 1.5."""
    mean, ones = float(problem.log_loss.mean()), np.ones(len(problem.log_loss))
    terms = [mean - less for less in (6.0, 4.0, 2.0, 1.0, 0.0)]
    ends = [mean - less for less in (1.5, 0.7, 0.3, 0.1)]
    exponents = (0.1, 0.3, 0.6, 1.0, 1.5)
    grid = [np.array(start) for start in product(terms, terms, ends, exponents, exponents)]
    return sorted(grid, key=lambda start: problem.error(start, ones)[0])[:NUM_POLISHED]
