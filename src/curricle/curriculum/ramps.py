"""Ramps: short examples first, or ever better ones last."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .pacing import LEVELS, Easiest


class LengthRamp(Easiest):
    """Examples up to a length that grows; what is longer waits.

    `schedule` is [(until, most tokens), ...]: the first entry whose `until` lies ahead holds, after the last all take
    part. `until` is a share of the run up to 1 and a number of steps above. A step has as many tokens as ever, since
    rows are filled with more of the short examples.
    """

    def __init__(
        self,
        lengths_n: npt.NDArray[Any],
        schedule: Sequence[tuple[float, float]],
        num_steps: int,
        ranked_n: npt.NDArray[Any] | None = None,
    ) -> None:
        """`ranked_n` takes the place of the lengths where a control arm admits as many examples, but others."""
        super().__init__(lengths_n if ranked_n is None else ranked_n)
        self.schedule, self.num_steps = [(float(until), float(most)) for until, most in schedule], max(1, num_steps)
        ordered = np.sort(lengths_n)
        # As a share of the set, found once by bisection: whoever has fewer easier ones than there are short enough.
        self._shares = [int(np.searchsorted(ordered, most, side="right")) / len(ordered) for _, most in self.schedule]

    def _stage(self, progress: float) -> int:
        step = round(progress * self.num_steps)
        for stage, (until, _) in enumerate(self.schedule):
            if (step < until) if until > 1 else (progress < until):
                return stage
        return len(self.schedule)

    def max_length(self, progress: float) -> float:
        """The longest example that takes part."""
        stage = self._stage(progress)
        return self.schedule[stage][1] if stage < len(self.schedule) else math.inf

    def share(self, progress: float) -> float:
        stage = self._stage(progress)
        return self._shares[stage] if stage < len(self.schedule) else 1.0


class QualityRamp(Easiest):
    """All examples at first; from `start` on fewer and fewer, until the run ends on the best `final_share` of them."""

    def __init__(self, quality_n: npt.NDArray[Any], final_share: float = 0.3, start: float = 0.5) -> None:
        super().__init__(-quality_n)  # the best are the ones to keep
        self.final_share, self.start = final_share, start

    def share(self, progress: float) -> float:
        done = max(0.0, progress - self.start) / (1.0 - self.start)
        share = 1.0 - done * (1.0 - self.final_share)
        return max(self.final_share, math.ceil(share * LEVELS - 1e-9) / LEVELS)
