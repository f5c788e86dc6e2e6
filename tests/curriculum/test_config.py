"""What a `curriculum:` section may say, and what it is told when it may not."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from curricle.curriculum.config import CurriculumConfig

SCHEDULE = [
    {"epoch_range": [0.0, 0.3], "difficulty_weights": {"low": 0.7, "medium": 0.3, "high": 0.0}},
    {"epoch_range": [0.3, 0.7], "difficulty_weights": {"low": 0.3, "medium": 0.6, "high": 0.1}},
    {"epoch_range": [0.7, 1.0], "difficulty_weights": {"low": 0.1, "medium": 0.5, "high": 0.4}},
]
BINS = {"low": [1, 3], "medium": [4, 7], "high": [8, 11]}


def config(**keys: Any) -> CurriculumConfig:
    return CurriculumConfig.model_validate({"labels": "l.parquet", **keys})


def test_the_sources_own_settings_are_taken() -> None:
    progressive = config(strategy="layer_wise_progressive", num_stages=3, stage_percentiles=[0.33, 0.66, 1.0])
    assert progressive.percentiles() == config().percentiles() == [0.33, 0.66, 1.0]
    dynamic = config(strategy="dynamic_pacing", loss_threshold=2.0, difficulty_step_up=0.05)
    assert (dynamic.loss_threshold, dynamic.difficulty_step_up) == (2.0, 0.05)
    assert config(strategy="hybrid").num_stages == 3
    assert (
        len(config(strategy="staged_mix", difficulty_bins=BINS, difficulty_schedule=SCHEDULE).difficulty_schedule) == 3
    )  # type: ignore[arg-type]


def test_stages_in_other_numbers_are_equal_steps() -> None:
    assert config(num_stages=4).percentiles() == [0.25, 0.5, 0.75, 1.0]


def test_which_column_is_read() -> None:
    assert config(strategy="competence").score() == "mean"
    assert config(strategy="quality_ramp").score() == "quality"
    assert config(strategy="competence", labels="data").score() == "difficulty"
    assert config(strategy="competence", column="loss").score() == "loss"


def test_arms_may_differ_in_strategy_alone() -> None:
    plain = config(strategy="none", num_stages=3, loss_threshold=1.0)
    assert not plain.reads_labels
    assert config(strategy="static_mix", shares={"a": 1.0}).reads_labels is False


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"strategy": "hardest_last"}, "strategy"),
        ({"stratgy": "none"}, "stratgy"),
        ({"strategy": "competence", "labels": None}, "needs `labels`"),
        ({"stage_percentiles": [0.5, 0.3, 1.0]}, "must rise from above 0 to 1.0"),
        ({"stage_percentiles": [0.3, 0.6, 0.9]}, "must rise from above 0 to 1.0"),
        ({"stage_percentiles": [0.0, 0.6, 1.0]}, "must rise from above 0 to 1.0"),
        ({"stage_percentiles": [0.5, 1.0]}, "2 entries for num_stages 3"),
        ({"strategy": "length_ramp"}, "needs `length_schedule`"),
        ({"strategy": "length_ramp", "length_schedule": [[0.5, 100], [0.2, 200]]}, "must rise"),
        ({"strategy": "length_ramp", "length_schedule": [[0.2, 200], [0.5, 100]]}, "must rise"),
        ({"strategy": "length_ramp", "length_schedule": [[0.2, 100], [50, 200]]}, "one or the other"),
        ({"strategy": "length_ramp", "length_schedule": [[0.2, 100]], "on_longer": "truncate"}, "is not offered"),
        ({"strategy": "staged_mix", "difficulty_bins": BINS}, "needs `difficulty_bins` and `difficulty_schedule`"),
        ({"strategy": "staged_mix", "difficulty_bins": BINS, "difficulty_schedule": SCHEDULE[:2]}, "ends at 0.7"),
        ({"strategy": "staged_mix", "difficulty_bins": BINS, "difficulty_schedule": SCHEDULE[1:]}, "gap or overlaps"),
        (
            {"strategy": "staged_mix", "difficulty_bins": {"low": [1, 3]}, "difficulty_schedule": SCHEDULE},
            "`medium` is none of the difficulty_bins",
        ),
        ({"difficulty_bins": {"a": [1, 3], "b": [3, 4]}}, "`a` and `b` overlap"),
        ({"difficulty_bins": {"unknown": [1, 3]}}, "none is called `unknown`"),
        ({"difficulty_bins": {"a": [3, 1]}}, "lowest, highest"),
        ({"strategy": "static_mix"}, "needs `shares`"),
        ({"strategy": "static_mix", "shares": {"a": 0.5, "b": 0.4}}, "add up to 0.9"),
        ({"strategy": "domain_ramp", "shares": {"a": 1.0}}, "needs `final_shares`"),
        ({"strategy": "none", "control": "random_curriculum"}, "none to shuffle"),
        ({"strategy": "static_mix", "shares": {"a": 1.0}, "control": "anti_curriculum"}, "a mix has no contrary"),
        ({"strategy": "competence", "labels": "length", "column": "mean"}, "`column` is not used"),
        ({"full_at": 0}, "full_at"),
        ({"anneal_factor": 1.0}, "anneal_factor"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(keys: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        config(**keys)
