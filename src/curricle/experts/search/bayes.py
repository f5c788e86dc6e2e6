"""A small Gaussian process: what the points evaluated so far say about all others, and where to look next.

    k(a, b) = s^2 (1 + r + r^2 / 3) exp(-r),   r = sqrt(5) |a - b| / l         Matern 5/2, one length l for all weights

Values are standardised; s, l and the noise are those of the largest marginal likelihood. The next point is that of the
largest expected improvement over the best value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...runtime.seeds import numpy_generator
from .methods import Ask, Known, Space, best_of

Array = npt.NDArray[np.float64]

CANDIDATES = 512
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
    """The lower Cholesky factor of the points' covariance."""
    solved_p: Array

    def predict(self, at_qd: Array) -> tuple[Array, Array]:
        """Mean and standard deviation at some points, in the values' own unit."""
        from scipy.linalg import solve_triangular

        cross_qp = self.signal * _matern(at_qd, self.points_pd, self.length)
        half_pq = solve_triangular(self.factor_pp, cross_qp.T, lower=True)
        variance_q = np.maximum(self.signal - (half_pq**2).sum(0), 1e-12)
        return self.mean + self.spread * (cross_qp @ self.solved_p), self.spread * np.sqrt(variance_q)


def fit(points_pd: Array, values_p: Array, width: float) -> Process:
    """The process of the largest marginal likelihood; `width` is that of the box, which lengths are measured by."""
    from scipy.linalg import cho_solve
    from scipy.optimize import minimize

    mean, spread = float(values_p.mean()), float(values_p.std()) or 1.0
    seen_p = (values_p - mean) / spread

    def parts(logs: Array) -> tuple[float, Array, Array, float, float]:
        length, signal, noise = width * float(np.exp(logs[0])), float(np.exp(logs[1])), float(np.exp(logs[2]))
        covariance = signal * _matern(points_pd, points_pd, length) + (noise + 1e-9) * np.eye(len(seen_p))
        factor = np.linalg.cholesky(covariance)
        solved = cho_solve((factor, True), seen_p)
        # Lengths near the box's own are likelier beforehand: few points say little about them.
        loss = 0.5 * seen_p @ solved + np.log(np.diag(factor)).sum() + 0.5 * logs[0] ** 2 + 0.1 * logs[1] ** 2
        return float(loss), np.asarray(factor), np.asarray(solved), length, signal

    starts = [np.array([np.log(part), 0.0, np.log(1e-4)]) for part in (0.2, 0.5, 1.5)]
    limits = [(np.log(0.05), np.log(10)), (-3.0, 5.0), (np.log(1e-8), np.log(1e-1))]
    found = [minimize(lambda logs: parts(logs)[0], start, method="L-BFGS-B", bounds=limits) for start in starts]
    best = min(found, key=lambda one: float(one.fun))
    _, factor, solved, length, signal = parts(best.x)
    return Process(points_pd, mean, spread, length, signal, factor, solved)


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
    """Candidates all over the space and near the best point; the best of them is followed uphill."""
    from scipy.optimize import minimize

    top, value = best_of(known)
    rng = numpy_generator(seed, "bayes", len(known))
    anywhere = rng.uniform(space.low, space.high, (CANDIDATES, len(top)))
    near = top + rng.normal(0, 0.1 * space.width, (CANDIDATES, len(top)))
    candidates = space.settle(np.concatenate([anywhere, near]))
    candidates = candidates[np.isfinite(candidates).all(1)]
    gains = expected_improvement(process, candidates, value)
    start, highest = candidates[int(np.argmax(gains))], max(float(gains.max()), 1e-12)

    def lost(at: Array) -> float:
        settled = space.settle(at)
        if not np.isfinite(settled).all():
            return 0.0
        return -float(expected_improvement(process, settled[None], value)[0]) / highest

    risen = minimize(lost, start, method="L-BFGS-B", bounds=[(space.low, space.high)] * len(top))
    order = [space.settle(risen.x), *candidates[np.argsort(-gains, kind="stable")]]
    if not lost(risen.x) < -1:
        order = order[1:]
    point = next((one for one in order if _apart(one, known) > space.least_step), order[0])
    return point, float(expected_improvement(process, point[None], value)[0])


def _apart(point: Array, known: Known) -> float:
    return min(float(np.abs(point - other).max()) for other, _ in known)
