"""From the `curriculum:` section and what is known of the examples to an order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import RecipeError
from ..runtime.progress import say
from . import mixes
from .config import MIXES, CurriculumConfig
from .dynamic import DynamicPacing, Hybrid, Pace
from .order import Order
from .pacing import Competence, EasyToHard, Stages
from .ramps import LengthRamp, QualityRamp
from .ranks import under_control
from .self_paced import SelfPaced


@dataclass(frozen=True)
class Facts:
    """What an order may go by."""

    lengths_n: npt.NDArray[Any]
    """Tokens of each example."""
    num_steps: int
    seed: int
    difficulty_n: npt.NDArray[Any] | None = None
    """The score of each example, as `curriculum.labels` says."""
    domains_n: npt.NDArray[np.int32] | None = None
    domain_names: list[str] = field(default_factory=list)
    tell: Callable[[str], None] = say
    """Where what the data come to is said."""


def build_order(config: CurriculumConfig, facts: Facts) -> Order:
    """The order that the recipe asks for."""
    strategy = config.strategy
    if strategy == "none":
        return Order()
    if strategy == "length_ramp":
        return _length_ramp(config, facts)
    if strategy in MIXES:
        return _mix(config, facts)
    if strategy == "self_paced":
        first, factor, every = config.loss_threshold, config.anneal_factor, config.anneal_every
        return SelfPaced(len(facts.lengths_n), facts.num_steps, first, factor, every)
    if facts.difficulty_n is None:
        raise RecipeError(f"the curriculum `{strategy}` goes by labels, and none were given; set `curriculum.labels`")
    difficulty_n = under_control(facts.difficulty_n, config.control, facts.seed)
    if strategy == "easy_to_hard":
        return EasyToHard(difficulty_n, config.buckets)
    if strategy == "layer_wise_progressive":
        return Stages(difficulty_n, config.percentiles())
    if strategy == "competence":
        return Competence(difficulty_n, config.initial_competence or 0.01, config.competence_root, config.full_at)
    if strategy == "quality_ramp":
        return QualityRamp(difficulty_n, config.final_share, config.ramp_from)
    if strategy == "dynamic_pacing":
        return DynamicPacing(difficulty_n, _pace(config))
    return Hybrid(difficulty_n, config.percentiles(), _pace(config))


def _pace(config: CurriculumConfig) -> Pace:
    return Pace(
        loss_threshold=config.loss_threshold,
        relative_threshold=config.relative_threshold,
        step_up=config.difficulty_step_up,
        step_down=config.difficulty_step_down,
        patience=config.patience,
        hysteresis=config.hysteresis,
        decay=config.loss_decay,
        initial=config.initial_competence or 0.2,
    )


def _length_ramp(config: CurriculumConfig, facts: Facts) -> Order:
    schedule, lengths_n = config.length_schedule or [], facts.lengths_n
    shortest = int(lengths_n.min())
    if schedule[0][1] < shortest:
        raise RecipeError(
            f"curriculum.length_schedule begins with {schedule[0][1]:g} tokens, the shortest example has {shortest}: "
            "nothing could be drawn; raise the first length"
        )
    order = LengthRamp(lengths_n, schedule, facts.num_steps, under_control(lengths_n, config.control, facts.seed))
    last = order.max_length((facts.num_steps - 1) / max(1, facts.num_steps))
    if dropped := int((lengths_n > last).sum()):
        facts.tell(
            f"curriculum: {dropped:,} of {len(lengths_n):,} examples are longer than the run ever admits ({last:g})"
        )
    return order


def _mix(config: CurriculumConfig, facts: Facts) -> Order:
    if config.difficulty_bins is not None:
        if facts.difficulty_n is None:
            raise RecipeError("difficulty_bins sort by labels, and none were given; set `curriculum.labels`")
        groups_n, names = mixes.bins_of(facts.difficulty_n, config.difficulty_bins)
    elif facts.domains_n is not None and facts.domain_names:
        groups_n, names = facts.domains_n, facts.domain_names
    else:
        raise RecipeError(
            f"`{config.strategy}` needs groups: name the column of domains in `data.domain_field`, or set "
            "`curriculum.difficulty_bins` and labels"
        )
    if len(names) > 255:
        raise RecipeError(f"a mix takes at most 255 groups; the data has {len(names)} domains")
    if config.control == "random_curriculum":
        groups_n = under_control(groups_n, config.control, facts.seed)
    if config.strategy == "staged_mix":
        shares_at = mixes.staged(config.difficulty_schedule or [], names)
    elif config.strategy == "domains_in_turn":
        shares_at = mixes.in_turn(groups_n, facts.lengths_n, len(names))
    else:
        shares_at = mixes.fixed(mixes.shares_of(config.shares or {}, names))
        if config.strategy == "domain_ramp":
            last = mixes.shares_of(config.final_shares or {}, names)
            shares_at = mixes.ramp(shares_at(0.0), last, config.full_at)
    repeat = (config.on_dry or ("redistribute" if config.strategy == "staged_mix" else "repeat")) == "repeat"
    order = mixes.Mixed(groups_n, names, shares_at, repeat)
    for step in np.linspace(0.0, 1.0, min(facts.num_steps, 1000), endpoint=False).tolist():
        order.shares(step)  # a part of the run that could draw nothing is refused before it begins
    order.shares(0.0)
    facts.tell("curriculum: " + ", ".join(f"{n:,} {name}" for name, n in zip(names, order.sizes, strict=True)))
    return order
