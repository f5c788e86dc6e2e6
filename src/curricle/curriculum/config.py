"""The `curriculum:` section of a recipe: which example, when.

Every key has a default, so that a strategy is chosen by its name. A strategy does not look at the keys of others, so
that arms may differ in `strategy` alone.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ..runtime.config import Section

Strategy = Literal[
    "none",
    "easy_to_hard",
    "layer_wise_progressive",
    "layer_specific",
    "dynamic_pacing",
    "hybrid",
    "competence",
    "self_paced",
    "length_ramp",
    "quality_ramp",
    "domain_ramp",
    "domains_in_turn",
    "staged_mix",
    "static_mix",
]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]

UNKNOWN = "unknown"
"""The bin of examples whose difficulty is not known or lies in no bin."""

NEEDS_LABELS = frozenset(
    (
        *("easy_to_hard", "layer_wise_progressive", "layer_specific", "dynamic_pacing", "hybrid", "competence"),
        "quality_ramp",
    )
)
MIXES = frozenset(("staged_mix", "static_mix", "domain_ramp", "domains_in_turn"))


class MixStage(Section):
    """One part of the run, and how its draws are split among the bins."""

    epoch_range: tuple[Share, Share]
    """The part of the run, as [begin, end] in shares of it."""
    difficulty_weights: dict[str, Share]
    """Bin -> its share of the draws; a bin not named has none. They add up to 1."""

    @model_validator(mode="after")
    def _whole(self) -> MixStage:
        if not self.epoch_range[0] < self.epoch_range[1]:
            raise ValueError(f"epoch_range {list(self.epoch_range)} does not rise")
        _refuse_partial("difficulty_weights", self.difficulty_weights)
        return self


class CurriculumConfig(Section):
    strategy: Strategy = "none"
    """How the order of the examples is chosen. `none`: shuffled passes over the whole set; docs/curriculum.md has the
    others."""
    control: Literal["random_curriculum", "anti_curriculum"] | None = None
    """The same schedule on labels that say nothing (shuffled among the examples) or the contrary (hardest first)."""
    labels: str | None = None
    """What says how hard an example is: `score` for labels that the run makes as `difficulty` says, a label file (made
    where it is missing and `difficulty.cloud` is set), `data` for a column of the training rows, or `length` for the
    number of tokens."""
    column: str | None = None
    """The score to take: by default `mean` of a label file (`quality` for quality_ramp), `difficulty` of the data."""
    buckets: Annotated[int, Field(ge=1)] | None = None
    """easy_to_hard: examples of like difficulty are shuffled among each other, in so many buckets; by default the
    square root of their number."""
    num_stages: Annotated[int, Field(ge=1)] = 3
    """Equal parts of the run, each with its cap of difficulty."""
    stage_percentiles: list[Share] | None = None
    """Up to which percentile of difficulty each stage admits; by default 0.33, 0.66, 1.0, and equal steps where there
    are not three stages."""
    layers: Literal["all", "bottom_up", "top_down"] | list[Annotated[list[int], Field(min_length=1)]] | None = None
    """Which layers learn: `bottom_up` opens the first share of them in the first stage and all in the last, `top_down`
    the last ones, and a list names the layers of each stage (0 is the first, -1 the last). By default bottom_up for
    layer_wise_progressive and hybrid, else all; docs/depth.md."""
    layer_delay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """layer_specific: by which share of the run the last layer's stages come later than the first layer's."""
    loss_threshold: Positive = 2.0
    """Harder examples come once the running loss is below this; self_paced: the first bound of an example's loss."""
    relative_threshold: Positive | None = None
    """In place of loss_threshold: this times the running loss at the last step up; it needs no scale."""
    difficulty_step_up: Annotated[float, Field(gt=0, le=1)] = 0.05
    """How much more of the set is admitted when the loss allows it."""
    difficulty_step_down: Share = 0.0
    """How much less when the loss is too high; 0: what is admitted stays."""
    patience: Annotated[int, Field(ge=1)] = 1
    """So many optimizer steps in a row must allow a step up (or ask for a step down)."""
    hysteresis: Annotated[float, Field(ge=0)] = 0.1
    """The loss is too high only when it is this share above the threshold."""
    loss_decay: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """How much of the running loss comes from the steps before."""
    initial_competence: Annotated[float, Field(gt=0, le=1)] | None = None
    """The share of the set admitted at first; by default 0.01 for competence, 0.2 where the loss decides."""
    competence_root: Annotated[float, Field(ge=1)] = 2.0
    """1: the admitted share rises linearly; 2: as a square root, so that each example has equal time when it is new."""
    full_at: Annotated[float, Field(gt=0, le=1)] = 0.5
    """At which share of the run all is admitted, or a ramp is at its end."""
    anneal_factor: Annotated[float, Field(gt=1)] = 1.3
    """self_paced: what the bound is multiplied by."""
    anneal_every: Annotated[float, Field(gt=0, le=1)] = 0.1
    """self_paced: after which share of the run."""
    length_schedule: list[tuple[Annotated[float, Field(gt=0)], Positive]] | None = None
    """length_ramp: [until, most tokens] in turn; `until` is a share of the run up to 1, a number of steps above. After
    the last all lengths take part."""
    on_longer: Literal["drop", "truncate"] = "drop"
    """length_ramp: what happens to examples that are too long for now: they wait. Cutting them is not offered."""
    final_share: Annotated[float, Field(gt=0, le=1)] = 0.3
    """quality_ramp: the share of the set, of the best quality, that the run ends on."""
    ramp_from: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """quality_ramp: until this share of the run all take part."""
    difficulty_bins: dict[str, tuple[float, float]] | None = None
    """Bin -> [lowest, highest] difficulty, both included. What lies in none is in the bin `unknown`."""
    difficulty_schedule: list[MixStage] | None = None
    """staged_mix: parts of the run, each with the shares of the bins."""
    shares: dict[str, Share] | None = None
    """static_mix, domain_ramp: bin or domain -> its share of the draws. They add up to 1."""
    final_shares: dict[str, Share] | None = None
    """domain_ramp: the shares it ends with."""
    on_dry: Literal["redistribute", "repeat"] | None = None
    """When a bin has no example left that this pass has not drawn: the others take its share until the pass ends, or it
    begins anew. By default `redistribute` for staged_mix, else `repeat`."""

    @property
    def reads_labels(self) -> bool:
        return self.strategy in NEEDS_LABELS or (self.strategy in MIXES and self.difficulty_bins is not None)

    def percentiles(self) -> list[float]:
        """Of every stage."""
        if self.stage_percentiles is not None:
            return self.stage_percentiles
        if self.num_stages == 3:
            return [0.33, 0.66, 1.0]
        return [(stage + 1) / self.num_stages for stage in range(self.num_stages)]

    def opened_layers(self) -> str | list[list[int]]:
        """As `layers` says, or as the strategy does."""
        if self.layers is not None:
            return self.layers
        return "bottom_up" if self.strategy in ("layer_wise_progressive", "hybrid") else "all"

    def score(self) -> str:
        """The column that is read."""
        if self.column is not None:
            return self.column
        if self.labels == "data":
            return "difficulty"
        return "quality" if self.strategy == "quality_ramp" else "mean"

    @model_validator(mode="after")
    def _agrees(self) -> CurriculumConfig:
        self._check_control()
        if self.labels is None and self.reads_labels:
            raise ValueError(
                f"`{self.strategy}` needs `labels`: a label file (`curricle score` makes one), `score` to have it made "
                "by the run, `data` for a column of the training rows, or `length`"
            )
        if self.labels == "length" and self.column is not None:
            raise ValueError("`column` is not used with `labels: length`; take it out")
        self._check_stages()
        self._check_layers()
        self._check_lengths()
        self._check_mixes()
        return self

    def _check_control(self) -> None:
        if self.control is not None and self.strategy in ("none", "self_paced"):
            raise ValueError(f"`control` needs a strategy that goes by labels; `{self.strategy}` has none to shuffle")
        if self.control == "anti_curriculum" and self.strategy in MIXES:
            raise ValueError("a mix has no contrary; turn its shares round yourself, or take random_curriculum")

    def _check_stages(self) -> None:
        stages = self.percentiles()
        if len(stages) != self.num_stages:
            raise ValueError(f"stage_percentiles has {len(stages)} entries for num_stages {self.num_stages}")
        if stages[0] <= 0 or stages[-1] != 1 or any(a > b for a, b in pairwise(stages)):
            raise ValueError(f"stage_percentiles {stages} must rise from above 0 to 1.0, so that the run ends on all")

    def _check_layers(self) -> None:
        if isinstance(self.layers, list) and len(self.layers) != self.num_stages:
            raise ValueError(f"layers lists {len(self.layers)} stages and num_stages is {self.num_stages}")
        if self.strategy == "layer_specific" and (self.labels in ("data", "length") or self.column is not None):
            raise ValueError(
                "`layer_specific` goes by the difference at each layer: `labels` must be a label file that `curricle "
                "score` made with a large and a small model, and `column` is not used"
            )

    def _check_lengths(self) -> None:
        if self.on_longer == "truncate":
            raise ValueError(
                "on_longer: truncate is not offered: an example is tokenized once, before its order is known. Too long "
                "examples wait (drop); to train on shortened ones, lower `data.max_length`"
            )
        if self.strategy == "length_ramp":
            steps = self.length_schedule
            if not steps:
                raise ValueError("`length_ramp` needs `length_schedule`, such as [[0.2, 256], [0.5, 512]]")
            if any(a[0] >= b[0] or a[1] > b[1] for a, b in pairwise(steps)):
                raise ValueError("length_schedule must rise: each `until` above the one before, no length below")
            if len({until > 1 and math.isfinite(until) for until, _ in steps if math.isfinite(until)}) > 1:
                raise ValueError("length_schedule has shares of the run and numbers of steps; write one or the other")

    def _check_mixes(self) -> None:
        bins = self.difficulty_bins
        if bins is not None:
            spans = sorted((low, high, name) for name, (low, high) in bins.items())
            if UNKNOWN in bins or any(low > high for low, high, _ in spans):
                raise ValueError(f"each of difficulty_bins is [lowest, highest], and none is called `{UNKNOWN}`")
            for (_, high, name), (low, _, other) in pairwise(spans):
                if low <= high:
                    raise ValueError(f"the difficulty_bins `{name}` and `{other}` overlap")
        if self.strategy == "staged_mix":
            self._check_schedule()
        if self.strategy in ("static_mix", "domain_ramp"):
            for key in ("shares",) if self.strategy == "static_mix" else ("shares", "final_shares"):
                given = getattr(self, key)
                if given is None:
                    raise ValueError(f"`{self.strategy}` needs `{key}`: how the draws are split, such as {{a: 1.0}}")
                _refuse_partial(key, given)
                self._refuse_other_bins(given)

    def _check_schedule(self) -> None:
        if self.difficulty_bins is None or not self.difficulty_schedule:
            raise ValueError("`staged_mix` needs `difficulty_bins` and `difficulty_schedule`")
        at = 0.0
        for stage in self.difficulty_schedule:
            if stage.epoch_range[0] != at:
                raise ValueError(f"difficulty_schedule leaves a gap or overlaps at {at}: its parts follow one another")
            at = stage.epoch_range[1]
            self._refuse_other_bins(stage.difficulty_weights)
        if at != 1:
            raise ValueError(f"difficulty_schedule ends at {at}; its last part must end at 1.0")

    def _refuse_other_bins(self, given: dict[str, float]) -> None:
        known = (*(self.difficulty_bins or given), UNKNOWN)
        for name in given:
            if name not in known:
                raise ValueError(f"`{name}` is none of the difficulty_bins; known: {', '.join(known)}")


def _refuse_partial(key: str, shares: dict[str, float]) -> None:
    total = sum(shares.values())
    if not math.isclose(total, 1.0, abs_tol=1e-6):
        raise ValueError(f"{key} add up to {total:g}; shares add up to 1")
