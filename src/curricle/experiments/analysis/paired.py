"""Is one score more closely tied to the target than another? Both on the same examples, drawn again and again.

The figure is |rho| of the one less |rho| of the other. Signs are left out, so it has an edge where a rho is 0, which a
formula by derivatives would not know of; the bootstrap does. Suffix `_dn`: draws x examples.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from ..comparison.shape import Interval
from ..comparison.statistics import draw_counts
from .statistics import Floats, Ranks

Verdict = Literal["better", "worse", "no difference shown"]

PAIRED = "bootstrap over examples, paired"
DRAWS, FEWEST_DRAWS, WORK = 2000, 200, 20_000_000
"""Draws; and where there are so many examples that these would take long, entries drawn in all."""


def stronger(
    one: Ranks, other: Ranks, target: Ranks, level: float = 0.95, draws: int | None = None
) -> tuple[Interval, Verdict]:
    """How much closer the first is to the target than the second; better or worse where the interval leaves out 0."""
    num = len(target)
    if draws is None:
        draws = int(np.clip(WORK // num, FEWEST_DRAWS, DRAWS))
    parts = [_apart(one, other, target, counts_dn) for counts_dn in draw_counts(num, draws)]
    apart = float(_apart(one, other, target, np.ones((1, num)))[0])
    low, high = (float(end) for end in np.quantile(np.concatenate(parts), [(1 - level) / 2, (1 + level) / 2]))
    verdict: Verdict = "better" if low > 0 else "worse" if high < 0 else "no difference shown"
    return Interval(apart, low, high, PAIRED), verdict


def _apart(one: Ranks, other: Ranks, target: Ranks, counts_dn: Floats) -> Floats:
    """|rho| of one less |rho| of the other in each draw, ranked anew among what was drawn."""
    aim_dn = target.redrawn(counts_dn)
    first, second = (np.abs(_correlation(each.redrawn(counts_dn), aim_dn, counts_dn)) for each in (one, other))
    found: Floats = first - second
    return found


def _correlation(x_dn: Floats, y_dn: Floats, counts_dn: Floats) -> Floats:
    """Pearson's r of centred columns with weights; 0 in a draw that holds one value only."""
    products, of_x, of_y = (
        np.einsum("dn,dn,dn->d", a, b, counts_dn) for a, b in ((x_dn, y_dn), (x_dn, x_dn), (y_dn, y_dn))
    )
    scale = np.sqrt(of_x * of_y)
    found: Floats = np.divide(products, scale, out=np.zeros_like(products), where=scale > 0)
    return found
