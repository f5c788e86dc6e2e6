"""The `comparison:` and `checks:` sections of a recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ...runtime.config import Section


class ComparisonConfig(Section):
    """How the arms are compared once they are measured."""

    base: str | None = None
    """The arm that the others are compared with; by default the first."""
    level: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    """Of all intervals; 1 less it is the rate of wrong alarms that is put up with."""
    correction: Literal["holm", "bonferroni", "none"] = "holm"
    """For several arms against one base: `holm`; `bonferroni`, whose intervals hold all at once; or `none`."""
    interval: Literal["t", "bootstrap"] = "t"
    """Over several seeds: `t` over seeds and examples, or the two-level `bootstrap`, which is too narrow below ten
    seeds."""
    num_draws: Annotated[int, Field(ge=1000, le=1_000_000)] = 10_000
    """Draws of a bootstrap."""


class CheckConfig(Section):
    """A line that must hold, judged after the runs."""

    arm: str | None = None
    """The arm it is about; by default every arm."""
    check: str
    """`<figure> <op> <value>`, such as `rouge.sum > 70`, `foreign_script.samples < 3%` or
    `seconds_per_epoch < 0.6 * phase2`; docs/comparison.md names the figures."""
    otherwise: str = ""
    """What to do when it does not hold, printed beside it then."""
