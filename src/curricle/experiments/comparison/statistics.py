"""Intervals for a figure of an arm, and for the difference of two arms, over seeds and over examples.

A figure is `transform(sum(w x) / sum(w))` over the examples of one run, and there is a run a seed. What an arm claims
is about new seeds *and* new examples, so the error of its mean has two parts:

    seeds       the spread of the runs' values            se_S = sd over seeds / sqrt(S),        S - 1 degrees
    examples    the spread of what each example adds,     se_E = sd over examples / sqrt(I),     I - 1 degrees
                averaged over the seeds first

and the interval is `mean +- sqrt((t_S se_S)^2 + (t_E se_E)^2)` with Student's t at each part's own degrees of freedom
(Banerjee 1960): at most its stated rate of wrong rejections whatever the shares of the two parts, exact when one of
them is nothing. A t over seeds alone would forget that the same few examples served every seed; a two-level
bootstrap of two or three seeds is far too narrow. `docs/comparison.md` has the rates, simulated.

An exponential is estimated by its logarithm, where errors are even, and only shown as itself: a perplexity has the
p value and the verdict of its loss.

    own figure      exp(x)                          its interval is exp of that of x
    difference      base (exp(x) - 1)               x = log(arm / base): 0 is left out exactly where x leaves 0 out

Suffixes: `_s` seeds, `_si` seeds x examples, `_d` draws, `_di` draws x examples, `_ds` draws x seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Kind = Literal["t", "bootstrap"]
Transform = Literal["none", "exp"]

T_BOTH = "t over seeds and examples"
T_SEEDS = "t over seeds"
BOOTSTRAP_BOTH = "bootstrap over seeds and examples"
BOOTSTRAP_EXAMPLES = "bootstrap over examples"
ALL_ALIKE = "binomial over examples, all alike"
NONE = "none"

CHUNK = 4_000_000
"""Entries of a table of draws x examples that are held at once."""
SMALLEST_P = 1e-12
ROUNDING = 1e-12
"""A spread of this share of the values is none."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One figure of one arm: a value a seed, and where it is made of examples, these for every seed."""

    values_s: Floats
    products_si: Floats | None = None
    """Weight times value; the same examples in the same order for every seed."""
    weights_si: Floats | None = None
    transform: Transform = "none"

    def logarithm(self, factor: float) -> Sample:
        """Of `factor` times an exponential: what stands in its exponent, and log factor."""
        shift = float(np.log(factor))
        products_si = self.products_si
        if products_si is not None and self.weights_si is not None:
            products_si = products_si + shift * self.weights_si
        return Sample(np.log(self.values_s) + shift, products_si, self.weights_si)

    def influence_si(self) -> Floats | None:
        """What each example adds to its run's ratio, to first order; a row's mean is 0."""
        if self.products_si is None or self.weights_si is None:
            return None
        ratio_s = self.products_si.sum(1) / self.weights_si.sum(1)
        centred_si = self.products_si - self.weights_si * ratio_s[:, None]
        influence: Floats = centred_si / self.weights_si.mean(1)[:, None]
        return influence

    def sums(self) -> Floats:
        """The rows whose sums over drawn examples make the figure: products of all seeds, then weights of all seeds."""
        assert self.products_si is not None
        assert self.weights_si is not None
        return np.concatenate([self.products_si, self.weights_si])

    def drawn_ds(self, sums: Floats) -> Floats:
        """The ratio of every seed in each draw, from `sums` over the drawn examples."""
        products_ds, weights_ds = np.split(sums, 2, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio_ds = products_ds / weights_ds
        return np.where(np.isfinite(ratio_ds), ratio_ds, 0.0)


Terms = Sequence[tuple[float, Sample]]
"""A figure as it is, `[(1, arm)]`, or a contrast: `[(1, arm), (-1, base)]`, paired by seed and by example."""


@dataclass(frozen=True)
class Scale:
    """From a logarithm, where a figure is estimated, back to the figure."""

    base: float | None = None
    """What an arm is compared with, as a figure; None of an arm's own figure."""

    def shown(self, log: float) -> float:
        with np.errstate(over="ignore"):
            return float(np.exp(log) if self.base is None else self.base * np.expm1(log))


@dataclass(frozen=True)
class Estimate:
    """A mean with what is needed for its interval at any level."""

    mean: float
    method: str = NONE
    parts: tuple[tuple[float, float], ...] = ()
    """(standard error, degrees of freedom) of each source of error."""
    draws_d: Floats | None = field(default=None, repr=False)
    num_examples: int | None = None
    """Of a bootstrap over examples alone: few of them make it too narrow, which is corrected. Of a percentage: how many
    there were, when all were alike."""
    scale: Scale | None = None
    """All but the mean is of a logarithm, `log_mean`, when there is one."""
    log_mean: float | None = None

    @property
    def _centre(self) -> float:
        return self.mean if self.log_mean is None else self.log_mean

    @property
    def known(self) -> bool:
        """Whether anything can be said about its spread."""
        if self.method == ALL_ALIKE:
            return True
        if self.draws_d is not None:
            return bool(np.ptp(self.draws_d) > ROUNDING * np.abs(self.draws_d).max())
        return any(error > 0 for error, _ in self.parts)

    def bounds(self, level: float) -> tuple[float, float] | None:
        """The interval of a level such as 0.95; None when nothing can be said."""
        found = self._bounds(level) if self.known else None
        return (
            found if found is None or self.scale is None else (self.scale.shown(found[0]), self.scale.shown(found[1]))
        )

    def _bounds(self, level: float) -> tuple[float, float]:
        if self.method == ALL_ALIKE:
            assert self.num_examples is not None
            rest = 100.0 * (1.0 - ((1.0 - level) / 2) ** (1.0 / self.num_examples))
            return (0.0, rest) if self.mean < 50 else (100.0 - rest, 100.0)
        if self.draws_d is None:
            half = _half(self.parts, 1.0 - level)
            return self._centre - half, self._centre + half
        alpha = _expanded(1.0 - level, self.num_examples)
        low, high = np.quantile(self.draws_d, [alpha / 2, 1.0 - alpha / 2])
        return float(low), float(high)

    def p(self) -> float | None:
        """How surprising so large a mean is where the truth is 0: the rate at which the interval just touches 0."""
        if not self.known or self.method == ALL_ALIKE:
            return 1.0 if self._centre == 0 and self.method != NONE else None
        if self.draws_d is not None:
            beyond = min(int((self.draws_d <= 0).sum()), int((self.draws_d >= 0).sum()))
            return _contracted(min(1.0, 2 * (1 + beyond) / (1 + len(self.draws_d))), self.num_examples)
        if self._centre == 0:
            return 1.0
        if _half(self.parts, SMALLEST_P) <= abs(self._centre):
            return SMALLEST_P
        from scipy.optimize import brentq

        return float(brentq(lambda alpha: _half(self.parts, alpha) - abs(self._centre), SMALLEST_P, 1.0, xtol=1e-14))


def estimate(terms: Terms, kind: Kind = "t", num_draws: int = 10_000) -> Estimate:
    """The mean over seeds of a figure or a contrast, with its errors.

    >>> arm, base = (Sample(np.array(values)) for values in ([41.0, 42.0, 43.0], [40.0, 40.5, 41.0]))
    >>> difference = estimate([(1.0, arm), (-1.0, base)])
    >>> difference.method, round(difference.mean, 2), [round(bound, 2) for bound in difference.bounds(0.95)]
    ('t over seeds', 1.5, [0.26, 2.74])
    """
    if all(sample.transform == "exp" for _, sample in terms):
        return _by_logarithm(terms, kind, num_draws)
    values_s = sum(factor * sample.values_s for factor, sample in terms)
    assert isinstance(values_s, np.ndarray)
    mean, num_seeds = float(values_s.mean()), len(values_s)
    influences = [(factor, sample.influence_si()) for factor, sample in terms]
    if any(influence is None or influence.shape[1] < 2 for _, influence in influences):
        return Estimate(mean, T_SEEDS, (_error(values_s),)) if num_seeds > 1 else Estimate(mean)
    if num_seeds == 1:
        draws_d = _drawn_ds(terms, num_draws)[:, 0]
        return Estimate(mean, BOOTSTRAP_EXAMPLES, draws_d=draws_d, num_examples=_num_examples(terms))
    if kind == "bootstrap":
        return Estimate(mean, BOOTSTRAP_BOTH, draws_d=_two_level(_drawn_ds(terms, num_draws)))
    influence_si = sum(factor * influence for factor, influence in influences if influence is not None)
    assert isinstance(influence_si, np.ndarray)
    return Estimate(mean, T_BOTH, (_error(values_s), _error(influence_si.mean(0))))


def _by_logarithm(terms: Terms, kind: Kind, num_draws: int) -> Estimate:
    """An exponential or the difference of two, where errors are even."""
    logs = [(float(np.sign(factor)), sample.logarithm(abs(factor))) for factor, sample in terms]
    base = float(np.exp(logs[1][1].values_s.mean())) if len(logs) > 1 else None
    found, scale = estimate(logs, kind, num_draws), Scale(base)
    return replace(found, mean=scale.shown(found.mean), scale=scale, log_mean=found.mean)


def all_alike(mean: float, num_examples: int) -> Estimate:
    """A percentage of examples that is 0 or 100: the rate may yet be another (the exact binomial limit, about 3.7 / n).

    >>> all_alike(0.0, 500).bounds(0.95)[1] < 1
    True
    """
    return Estimate(mean, ALL_ALIKE, num_examples=num_examples)


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's corrected p values: below alpha exactly where Holm's step-down procedure rejects at alpha.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected, highest = [0.0] * len(ps), 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[i]))
        corrected[i] = highest
    return corrected


def holm_levels(ps: Sequence[float], level: float) -> list[float]:
    """The level at which Holm tests each: an interval of it leaves 0 out exactly where Holm rejects.

    The smallest p is tested at alpha / m, the next at alpha / (m - 1), ...; from the first that is not rejected on, all
    share its divisor.
    """
    alpha, levels, open_ = 1.0 - level, [level] * len(ps), len(ps)
    stopped = False
    for i in sorted(range(len(ps)), key=lambda i: ps[i]):
        levels[i] = 1.0 - alpha / open_
        stopped = stopped or ps[i] >= alpha / open_
        open_ -= not stopped
    return levels


# ---- errors ---------------------------------------------------------------------------------------------------------


def _error(values: Floats) -> tuple[float, float]:
    """Standard error of a mean, and its degrees of freedom. A spread below rounding is none."""
    spread = float(values.std(ddof=1))
    if spread <= ROUNDING * float(np.abs(values).max(initial=0.0)):
        spread = 0.0
    return spread / float(np.sqrt(len(values))), len(values) - 1.0


def _half(parts: tuple[tuple[float, float], ...], alpha: float) -> float:
    from scipy.special import stdtrit

    return float(np.sqrt(sum((stdtrit(degrees, alpha / 2) * error) ** 2 for error, degrees in parts)))


def _expanded(alpha: float, num: int | None) -> float:
    """A percentile interval of n examples is too narrow as a normal is for a t, and by sqrt((n - 1) / n): take the
    quantiles further out by just that (Hesterberg 2015)."""
    if num is None:
        return alpha
    from scipy.special import ndtr, stdtrit

    return float(2 * ndtr(np.sqrt(num / (num - 1)) * stdtrit(num - 1, alpha / 2)))


def _contracted(p: float, num: int | None) -> float:
    """The other way round."""
    if num is None:
        return p
    from scipy.special import ndtri, stdtr

    return float(2 * stdtr(num - 1, np.sqrt((num - 1) / num) * ndtri(p / 2)))


# ---- bootstrap ------------------------------------------------------------------------------------------------------


def _num_examples(terms: Terms) -> int:
    [(_, sample), *_] = terms
    assert sample.products_si is not None
    return int(sample.products_si.shape[1])


def _drawn_ds(terms: Terms, num_draws: int) -> Floats:
    """The contrast of every seed on resampled examples: the same ones for every seed and every arm."""
    rows = [sample.sums() for _, sample in terms]
    borders = np.cumsum([len(each) for each in rows])[:-1]
    table = np.concatenate(rows).T  # one product with the counts for all, as reading those is what takes the time
    parts = []
    for counts_di in draw_counts(_num_examples(terms), num_draws):
        sums = np.split(counts_di @ table, borders, axis=1)
        parts.append(sum(factor * sample.drawn_ds(each) for (factor, sample), each in zip(terms, sums, strict=True)))
    return np.concatenate(parts)


def _two_level(values_ds: Floats) -> Floats:
    """Then seeds are drawn from the seeds."""
    num_draws, num_seeds = values_ds.shape
    seeds_ds = np.random.default_rng(1).integers(num_seeds, size=(num_draws, num_seeds))
    means: Floats = np.take_along_axis(values_ds, seeds_ds, axis=1).mean(1)
    return means


def draw_counts(num_examples: int, num_draws: int) -> Iterator[Floats]:
    """How often each example is taken in each draw, some draws at a time; the same on every call."""
    at_once = max(1, CHUNK // num_examples)
    for start in range(0, num_draws, at_once):
        yield _counts(num_examples, min(at_once, num_draws - start), start)


@lru_cache(maxsize=4)
def _counts(num_examples: int, num_draws: int, start: int) -> Floats:
    rng = np.random.default_rng([num_examples, start])
    taken_di = rng.integers(num_examples, size=(num_draws, num_examples))
    taken_di += np.arange(num_draws)[:, None] * num_examples
    counts = np.bincount(taken_di.ravel(), minlength=num_draws * num_examples)
    return counts.reshape(num_draws, num_examples).astype(np.float64)
