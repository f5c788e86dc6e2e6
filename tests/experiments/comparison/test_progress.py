"""Held-out loss at equal tokens, and what it took to reach the base arm's last loss."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from curricle.experiments.comparison.facts import ArmFacts, read_arm
from curricle.experiments.comparison.progress import (
    OTHER_LOSS,
    at,
    build_progress,
    first_at,
    seconds_to,
    tokens_to,
)
from curricle.experiments.comparison.shape import Interval
from curricle.runtime.logs import JsonLog
from experiments.comparison.runs import write_logs, write_run

CURVE = [(1000, 4.0), (2000, 3.0), (4000, 2.0)]


def arm(folder: Path, *curves: list[tuple[int, float]], trained: bool = True) -> ArmFacts:
    for seed, heldout in enumerate(curves):
        write_run(folder / f"seed-{seed}", settings={"trainer": "hf" if trained else "none"})
        if trained:
            write_logs(folder / f"seed-{seed}", heldout=heldout)
    return read_arm(folder)


@pytest.mark.parametrize(
    ("tokens", "loss"), [(500, None), (1000, 4.0), (1500, 3.5), (3000, 2.5), (4000, 2.0), (4001, None)]
)
def test_between_evaluations_by_straight_line(tokens: int, loss: float | None) -> None:
    assert at(CURVE, tokens) == loss
    assert at([], tokens) is None


@pytest.mark.parametrize(
    ("loss", "tokens"), [(5.0, 1000), (4.0, 1000), (3.5, 1500), (2.2, 3600), (2.0, 4000), (1.9, None)]
)
def test_the_first_time_a_loss_is_reached(loss: float, tokens: float | None) -> None:
    assert first_at(CURVE, loss) == (None if tokens is None else pytest.approx(tokens))


def test_the_first_time_counts_though_it_rises_again() -> None:
    assert first_at([(1000, 3.0), (2000, 2.0), (3000, 2.5)], 2.0) == 2000


def test_marks_and_what_it_took(tmp_path: Path) -> None:
    base = arm(tmp_path / "base", [(1, 4.0), (2, 3.5), (4, 3.0)], [(1, 4.2), (2, 3.7), (4, 3.2)])
    fast = arm(tmp_path / "fast", [(1, 3.5), (2, 3.0), (4, 2.0)], [(1, 3.7), (2, 3.2), (4, 2.2)])
    found = build_progress([base, fast], base, 0.95)
    assert found.marks == [500, 1000, 1500, 2000, 2500, 3000, 3500, 4000]
    ours = found.arms["fast"]
    assert ours.at_marks[0] is None  # nobody was evaluated before
    assert ours.at_marks[2] is not None
    assert ours.at_marks[2].mean == pytest.approx(3.35)
    assert ours.at_marks[2].method == "t over seeds"
    assert ours.tokens_to_base is not None
    assert ours.tokens_to_base.mean == pytest.approx(2000)  # each seed against the base's run of that seed
    assert ours.seconds_to_base is not None
    assert ours.seconds_to_base.mean == pytest.approx(4.0)  # two seconds a step
    assert ours.reached == "2 of 2"
    assert found.arms["base"].tokens_to_base is not None
    assert found.arms["base"].tokens_to_base.mean == pytest.approx(4000)


def test_of_those_that_got_there_alone_no_interval_is_true(tmp_path: Path) -> None:
    base = arm(tmp_path / "base", *[[(1, 4.0), (4, 3.0)]] * 3)
    some = arm(tmp_path / "some", [(1, 3.5), (4, 2.5)], [(1, 3.5), (4, 2.6)], [(1, 4.0), (4, 3.5)])
    found = build_progress([base, some], base, 0.95).arms["some"]
    assert found.reached == "2 of 3"
    assert found.tokens_to_base is not None
    assert (found.tokens_to_base.low, found.tokens_to_base.method) == (None, "of those that got there")
    none = arm(tmp_path / "none", [(1, 4.0), (4, 3.5)])
    found = build_progress([base, none], base, 0.95).arms["none"]
    assert (found.tokens_to_base, found.seconds_to_base, found.reached) == (None, None, "0 of 1")


def test_one_seed_has_a_value_and_no_interval(tmp_path: Path) -> None:
    base = arm(tmp_path / "base", [(1, 4.0), (4, 3.0)])
    [*_, last] = build_progress([base], base, 0.95).arms["base"].at_marks
    assert last is not None
    assert (last.mean, last.low, last.method) == (3.0, None, "none")


def test_arms_without_evaluations_have_no_progress(tmp_path: Path) -> None:
    base, plain = arm(tmp_path / "base", []), arm(tmp_path / "plain", [], trained=False)
    found = build_progress([base, plain], base, 0.95)
    assert (found.marks, found.arms) == ([], {})


@pytest.mark.parametrize("told_by", ["evaluations", "scores"])
@pytest.mark.parametrize(("share", "reached"), [(1.005, "1 of 1"), (1.5, OTHER_LOSS)])
def test_a_loss_over_other_tokens_is_no_mark(share: float, reached: str, told_by: str, tmp_path: Path) -> None:
    for name, factor in (("base", 1.0), ("other", share)):
        folder, weights = tmp_path / name / "seed-0", [20.0 * factor, 60.0 * factor]
        scored = {"scores": {"loss": [3.0, 2.0]}, "weights": weights, "unit": "tokens"} if told_by == "scores" else {}
        write_run(folder, **scored)
        write_logs(folder)
        log = JsonLog(folder / "heldout.jsonl")
        for step, loss in ((1, 4.0), (4, 3.0)):
            row = {"step": step, "what": "eval", "tokens_trained": 1000 * step, "loss": loss}
            log.append(row | ({"tokens": sum(weights)} if told_by == "evaluations" else {}))
        log.close()
    base, other = read_arm(tmp_path / "base"), read_arm(tmp_path / "other")
    found = build_progress([base, other], base, 0.95).arms["other"]
    assert found.reached == reached
    assert (found.tokens_to_base is None) == (found.seconds_to_base is None) == (reached == OTHER_LOSS)
    assert found.at_marks[-1] is not None  # its own curve stays


def test_what_it_saved_is_paired_by_seed(tmp_path: Path) -> None:
    """2 of 4 and 1.5 of 3 thousand tokens, then 3 of 4: 50, 50 and 25 percent, though the tokens vary more."""
    base = arm(tmp_path / "base", [(1, 4.0), (4, 3.0)], [(1, 4.0), (3, 3.0), (4, 3.0)], [(1, 4.0), (4, 3.0)])
    fast = arm(tmp_path / "fast", [(1, 4.0), (2, 3.0)], [(1, 3.5), (2, 2.5)], [(1, 4.0), (3, 3.0)])
    found = build_progress([base, fast], base, 0.95)
    saved = found.arms["fast"].saved
    assert saved is not None
    assert saved.mean == pytest.approx(125 / 3)
    assert (saved.low, saved.high, saved.method) == (
        pytest.approx(5.81, abs=0.01),
        pytest.approx(77.53, abs=0.01),
        "t over seeds",
    )  # 4.303 times 25 / 3, the standard error
    assert found.arms["base"].saved is None


def test_who_takes_longer_saves_less_than_nothing(tmp_path: Path) -> None:
    base = arm(tmp_path / "base", [(1, 4.0), (2, 3.0), (4, 3.5)], [(1, 4.0), (2, 3.0), (4, 3.5)])
    slow = arm(tmp_path / "slow", [(1, 5.0), (3, 3.5)], [(1, 5.0), (4, 3.5)])
    saved = build_progress([base, slow], base, 0.95).arms["slow"].saved
    assert saved is not None
    assert saved.mean == pytest.approx(-100 * (1 + 5 / 3) / 2)  # the base first had its last loss at 1,500
    assert saved.low is not None
    assert saved.low < saved.mean


def test_a_saving_of_some_runs_has_no_interval(tmp_path: Path) -> None:
    base = arm(tmp_path / "base", *[[(1, 4.0), (4, 3.0)]] * 2)
    some = arm(tmp_path / "some", [(1, 4.0), (2, 3.0)], [(1, 4.0), (4, 3.5)])
    found = build_progress([base, some], base, 0.95).arms["some"]
    assert found.saved == Interval(50.0, method="of those that got there")


def test_the_way_to_the_loss_of_another_run(tmp_path: Path) -> None:
    base = arm(tmp_path / "base", [(1, 4.0), (4, 3.0)]).runs[0]
    fast = arm(tmp_path / "fast", [(1, 4.0), (2, 3.0)]).runs[0]
    never = arm(tmp_path / "never", [(1, 4.0), (4, 3.5)]).runs[0]
    silent = arm(tmp_path / "silent", []).runs[0]
    assert [tokens_to(run, base) for run in (fast, base, never, silent)] == [2000, 4000, math.inf, None]
    assert [seconds_to(run, base) for run in (fast, base, never, silent)] == [4.0, 8.0, math.inf, None]
    assert tokens_to(fast, silent) is None
