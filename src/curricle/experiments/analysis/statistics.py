"""Rank correlation, AUC and accuracy with intervals that ask nothing of the shape of the data.

Spearman's rho is Pearson's r of the mid-ranks. What one example adds to it, to first order, is known in closed form
(the projection of its U-statistic); the spread of that over the examples gives the standard error, for ties, heavy
tails and unequal spread alike. The same values give the error of a partial correlation, by its derivatives. In
`docs/analysis.md` are the rates, simulated.

    u_i     share of examples below x_i, ties half, less 1/2; v_i of y_i
    S_xy    mean(u v)                                             rho = S_xy / sqrt(S_xx S_yy)
    psi_i   u_i v_i + mean_j [x_j above x_i] v_j + mean_j [y_j above y_i] u_j - 3 S_xy: what i adds to S_xy

Everything is sorting and running sums: a million examples take a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ..comparison.shape import Interval, Outcome

Floats = npt.NDArray[np.floating]

RHO = "influence of each example, on Fisher's scale"
DELONG = "DeLong, on the logit scale"
WILSON = "Wilson"
PERFECT = 1e-9
"""A correlation this close to 1 is one."""


class Ranks:
    """A column by its order alone."""

    def __init__(self, values: Floats) -> None:
        distinct, self.group_n = np.unique(np.asarray(values), return_inverse=True)
        sizes = np.bincount(self.group_n, minlength=len(distinct))
        below = np.cumsum(sizes) - sizes
        self.u_n = ((below + sizes / 2) / len(values) - 0.5)[self.group_n]

    def __len__(self) -> int:
        return len(self.u_n)

    @cached_property
    def constant(self) -> bool:
        return bool((self.group_n == self.group_n[:1]).all())

    def above(self, values_n: Floats) -> Floats:
        """For each example i the mean over all j of [j above i] times the value of j; ties count half."""
        sums = np.bincount(self.group_n, weights=values_n)
        at_or_above = np.cumsum(sums[::-1])[::-1]
        found: Floats = ((at_or_above - sums / 2) / len(values_n))[self.group_n]
        return found

    def redrawn(self, counts_dn: Floats) -> Floats:
        """The centred mid-ranks among drawn examples, of which example n was taken `counts_dn` times in draw d."""
        in_group = np.add.reduceat(counts_dn[:, self._order_n], self._starts, axis=1)
        middle = np.cumsum(in_group, axis=1) - in_group / 2
        found: Floats = (middle / counts_dn.sum(1, keepdims=True) - 0.5)[:, self.group_n]
        return found

    @cached_property
    def _order_n(self) -> npt.NDArray[np.int64]:
        return np.argsort(self.group_n, kind="stable")

    @cached_property
    def _starts(self) -> npt.NDArray[np.int64]:
        """Where in that order each group of equal values begins."""
        return np.searchsorted(self.group_n[self._order_n], np.arange(self.group_n.max() + 1))


@dataclass(frozen=True, eq=False)
class Correlation:
    """A correlation, and what each example adds to it."""

    rho: float
    influence_n: Floats
    num_given: int = 0
    """Columns that were held constant: each takes one degree of freedom."""

    @property
    def error(self) -> float:
        num = len(self.influence_n)
        return float(self.influence_n.std(ddof=1) / np.sqrt(num))

    def interval(self, level: float = 0.95) -> Interval:
        """On Fisher's scale, where the error hardly depends on rho, with Student's t."""
        from scipy.special import stdtrit

        num, free = len(self.influence_n), len(self.influence_n) - 2 - self.num_given
        if free < 1:
            return Interval(self.rho)
        rho, error = self.rho, self.error / max(1 - self.rho**2, PERFECT)
        if 1 - abs(rho) < PERFECT:  # no example departs from it, so nothing says how far: that of one that does
            rho = float(np.sign(rho)) * (1 - 1 / num)
            error = float(np.sqrt((1 + rho**2 / 2) / free))
        half = float(stdtrit(free, (1 + level) / 2)) * error * float(np.sqrt(num / (free + 1)))
        low, high = (float(np.tanh(np.arctanh(rho) + side * half)) for side in (-1, 1))
        return Interval(self.rho, min(low, self.rho), max(high, self.rho), RHO)


def spearman(x: Ranks, y: Ranks) -> Correlation | None:
    """None where one of them is constant.

    >>> found = spearman(Ranks(np.array([1.0, 2, 3, 4, 5])), Ranks(np.array([2.0, 1, 4, 3, 5])))
    >>> round(found.rho, 3)
    0.8
    """
    if x.constant or y.constant:
        return None
    (s_xy, psi_xy), (s_xx, psi_xx), (s_yy, psi_yy) = _covariance(x, y), _covariance(x, x), _covariance(y, y)
    scale = float(np.sqrt(s_xx * s_yy))
    rho = float(np.clip(s_xy / scale, -1.0, 1.0))
    return Correlation(rho, psi_xy / scale - rho / 2 * (psi_xx / s_xx + psi_yy / s_yy))


def _covariance(x: Ranks, y: Ranks) -> tuple[float, Floats]:
    """Of the mid-ranks, as shares; and what each example adds."""
    products_n = x.u_n * y.u_n
    mean = float(products_n.mean())
    return mean, products_n + x.above(y.u_n) + y.above(x.u_n) - 3 * mean


def partial(xy: Correlation, xz: Correlation, yz: Correlation) -> Correlation | None:
    """Of x and y, z held constant; None where z says all of one of them."""
    rest_x, rest_y = 1 - xz.rho**2, 1 - yz.rho**2
    if min(rest_x, rest_y) < PERFECT:
        return None
    scale = float(np.sqrt(rest_x * rest_y))
    rho = float(np.clip((xy.rho - xz.rho * yz.rho) / scale, -1.0, 1.0))
    by_xz = rho * xz.rho / rest_x - yz.rho / scale
    by_yz = rho * yz.rho / rest_y - xz.rho / scale
    influence_n = xy.influence_n / scale + by_xz * xz.influence_n + by_yz * yz.influence_n
    return Correlation(rho, influence_n, num_given=1)


def auc(values: Floats, hard: npt.NDArray[np.bool_], level: float = 0.95) -> Interval | None:
    """How often a hard example has a larger value than an easy one, ties half; None where all are hard or all easy."""
    num_hard, num_easy = int(hard.sum()), int((~hard).sum())
    if not num_hard or not num_easy:
        return None
    over_n = _beaten(values, hard)
    found = float(over_n[hard].mean())
    if min(num_hard, num_easy) < 2:
        return Interval(found)
    variance = float(over_n[hard].var(ddof=1) / num_hard + over_n[~hard].var(ddof=1) / num_easy)
    centre = found
    if (
        variance < PERFECT**2 or not 0 < found < 1
    ):  # no example is out of place, so nothing says how far: as if one were
        centre = float(np.clip(found, 1 / len(values), 1 - 1 / len(values)))
        variance = _hanley(centre, num_hard, num_easy)
    low, high = _on_logits(centre, float(np.sqrt(variance)), level)
    return Interval(found, min(low, found), max(high, found), DELONG)


def _beaten(values: Floats, hard: npt.NDArray[np.bool_]) -> Floats:
    """For each hard example the share of easy ones below it, for each easy one the share of hard ones above it."""
    _, group_n = np.unique(values, return_inverse=True)
    easy_in, hard_in = (np.bincount(group_n, weights=side, minlength=group_n.max() + 1) for side in (~hard, hard))
    easy_below = np.cumsum(easy_in) - easy_in / 2
    hard_above = np.cumsum(hard_in[::-1])[::-1] - hard_in / 2
    found: Floats = np.where(hard, easy_below[group_n] / easy_in.sum(), hard_above[group_n] / hard_in.sum())
    return found


def _hanley(area: float, num_hard: int, num_easy: int) -> float:
    """Hanley and McNeil's variance, where the data show none."""
    far, near = max(area, 1 - area), min(area, 1 - area)
    both = (num_hard - 1) * (far / (1 + near) - far**2) + (num_easy - 1) * (2 * far**2 / (1 + far) - far**2)
    return (far * near + both) / (num_hard * num_easy)


def _on_logits(centre: float, error: float, level: float) -> tuple[float, float]:
    from scipy.special import expit, logit, ndtri

    half = float(ndtri((1 + level) / 2)) * error / (centre * (1 - centre))
    return float(expit(logit(centre) - half)), float(expit(logit(centre) + half))


def above_median(values: Floats) -> npt.NDArray[np.bool_]:
    above: npt.NDArray[np.bool_] = values > np.median(values)
    return above


def share(right: npt.NDArray[np.bool_], level: float = 0.95) -> Interval:
    """A share with Wilson's interval.

    >>> found = share(np.array([True] * 7 + [False] * 3))
    >>> found.mean, round(found.low, 2), round(found.high, 2)
    (0.7, 0.4, 0.89)
    """
    from scipy.special import ndtri

    num, found, z = len(right), float(right.mean()), float(ndtri((1 + level) / 2))
    centre = (found + z**2 / (2 * num)) / (1 + z**2 / num)
    half = z * float(np.sqrt(found * (1 - found) / num + z**2 / (4 * num**2))) / (1 + z**2 / num)
    return Interval(found, max(0.0, centre - half), min(1.0, centre + half), WILSON)


def judge(found: Interval, line: float) -> Outcome:
    """Whether a figure is above a line, by its interval."""
    if found.low is None or found.high is None:
        return "not decidable"
    return "met" if found.low > line else "not met" if found.high <= line else "not decidable"


def skew(values: Floats) -> float:
    """0 of what is even on both sides, above 0 where the long tail is to the right."""
    spread = float(values.std())
    return float((((values - values.mean()) / spread) ** 3).mean()) if spread > 0 else 0.0


def matrix(columns: Sequence[Floats]) -> list[list[float | None]]:
    """Spearman's rho of every pair, over the examples that both know."""
    found: list[list[float | None]] = [[None] * len(columns) for _ in columns]
    for i, one in enumerate(columns):
        for j, other in enumerate(columns[: i + 1]):
            known = np.isfinite(one) & np.isfinite(other)
            both = (Ranks(one[known]), Ranks(other[known])) if known.sum() > 1 else None
            if both and not both[0].constant and not both[1].constant:
                found[i][j] = found[j][i] = float(np.corrcoef(both[0].u_n, both[1].u_n)[0, 1])
    return found
