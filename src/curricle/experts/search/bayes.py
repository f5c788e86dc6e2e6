"""A small Gaussian process: what the points evaluated so far say about all others, and where to look next.

    k(a, b) = s^2 (1 + r + r^2 / 3) exp(-r),   r = sqrt(5) |a - b| / l         Matern 5/2, one length l for all weights

Values are standardised; s, l and the noise are those of the largest marginal likelihood. The next point is that of the
largest expected improvement over the best value. Both are looked for among some candidates, and not by gradients: that
is quick, and a last digit seldom leads elsewhere.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...runtime.seeds import numpy_generator
from .methods import Ask, Known, Space, best_of

Array = npt.NDArray[np.float64]

CANDIDATES = 384
LENGTHS = tuple(np.geomspace(0.05, 10, 24))
NOISES = (1e-8, 1e-6, 1e-4, 1e-2)
FLAT = 1e-5
"""An expected improvement below this, in standard deviations of the values, ends the search."""


@dataclass(frozen=True)
class Process:
    """A Gaussian process that has seen some values."""

    points_pd: Array
    mean: float
    spread: float
    length: float
    signal: float
    factor_pp: Array
    """The lower Cholesky factor of the points' covariance with noise, both by s^2."""
    solved_p: Array

    def predict(self, at_qd: Array) -> tuple[Array, Array]:
        """Mean and standard deviation at some points, in the values' own unit."""
        from scipy.linalg import solve_triangular

        cross_qp = _matern(at_qd, self.points_pd, self.length)
        half_pq = solve_triangular(self.factor_pp, cross_qp.T, lower=True)
        variance_q = self.signal * np.maximum(1 - (half_pq**2).sum(0), 1e-12)
        return self.mean + self.spread * (cross_qp @ self.solved_p), self.spread * np.sqrt(variance_q)


def fit(points_pd: Array, values_p: Array, width: float) -> Process:
    """The process of the largest marginal likelihood among some lengths and noises; the best s is known for each.
    `width` is that of the space, which lengths are measured by."""
    from scipy.linalg import cho_solve

    mean, spread = float(values_p.mean()), float(values_p.std()) or 1.0
    seen_p, num = (values_p - mean) / spread, len(values_p)
    best, found = np.inf, None
    for part, noise in itertools.product(LENGTHS, NOISES):
        alike_pp = _matern(points_pd, points_pd, part * width) + noise * np.eye(num)
        factor_pp = np.asarray(np.linalg.cholesky(alike_pp), dtype=np.float64)
        solved_p = np.asarray(cho_solve((factor_pp, True), seen_p))
        signal = max(float(seen_p @ solved_p) / num, 1e-6)
        # Lengths near the space's own are likelier beforehand: few points say little about them.
        loss = 0.5 * num * np.log(signal) + float(np.log(np.diag(factor_pp)).sum()) + 0.5 * float(np.log(part)) ** 2
        if loss < best:
            best = loss
            found = Process(points_pd, mean, spread, part * width, signal, factor_pp, solved_p)
    assert found is not None
    return found


def _matern(a_qd: Array, b_pd: Array, length: float) -> Array:
    distance = np.sqrt(np.maximum(((a_qd[:, None] - b_pd[None]) ** 2).sum(-1), 0.0))
    r = np.sqrt(5.0) * distance / length
    return np.asarray((1 + r + r**2 / 3) * np.exp(-r))


def expected_improvement(process: Process, at_qd: Array, best: float) -> Array:
    """How much below `best` a value is expected to fall, counting only what falls below."""
    from scipy.special import ndtr

    mean_q, deviation_q = process.predict(at_qd)
    z_q = (best - mean_q) / deviation_q
    density_q = np.exp(-0.5 * z_q**2) / np.sqrt(2 * np.pi)
    return np.asarray(deviation_q * (z_q * ndtr(z_q) + density_q))


def seen(known: Known) -> tuple[Array, Array]:
    """Points and values to learn from. How far off a far value is says little and would drown all others: those are cut
    to a few times the median's distance from the best."""
    values_p = np.array([value for _, value in known])
    best = float(values_p.min())
    reach = 5 * float(np.median(values_p) - best)
    most = best + reach if 0 < reach < np.inf else float(values_p[np.isfinite(values_p)].max())
    return np.array([point for point, _ in known]), np.minimum(values_p, most)


def bayes(known: Known, ask: Ask, space: Space, budget: int, seed: int = 0) -> None:
    """The point of the largest expected improvement, again and again, until none is worth an evaluation."""
    while True:
        process = fit(*seen(known), space.width)
        point, gain = _next(process, known, space, seed)
        if gain < FLAT * process.spread:
            return
        ask(point)


def _next(process: Process, known: Known, space: Space, seed: int) -> tuple[Array, float]:
    """Candidates all over the space and near the best point, then ever nearer to the best candidate."""
    top, value = best_of(known)
    rng = numpy_generator(seed, "bayes", len(known))
    candidates = [space.settle(rng.uniform(space.low, space.high, (CANDIDATES, len(top))))]
    for reach in (0.1, 0.03, 0.01, 0.003):
        around = space.settle(top + rng.normal(0, reach * space.width, (CANDIDATES, len(top))))
        candidates.append(around[np.isfinite(around).all(1)])
        every = np.concatenate(candidates)
        gains = expected_improvement(process, every, value)
        top = every[int(np.argmax(gains))]
    order = np.argsort(-gains, kind="stable")
    new = next((i for i in order if _apart(every[i], known) > space.least_step), order[0])
    return every[new], float(gains[new])


def _apart(point: Array, known: Known) -> float:
    return min(float(np.abs(point - other).max()) for other, _ in known)
