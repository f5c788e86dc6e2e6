"""Numbers as a person reads them, and the paragraph at the top."""

from __future__ import annotations

from typing import Any

import pytest

from curricle.experiments.comparison.shape import ArmInfo, Cell, Comparison, Difference, Interval, MetricInfo, Progress
from curricle.experiments.report.words import (
    count,
    decimals_for,
    duration,
    flat,
    listed,
    memory,
    number,
    p_value,
    plain,
    setting,
    signed,
    spread,
    summary,
    with_spread,
)


def comparison(differences: dict[str, Difference | None], metrics: tuple[str, ...] = ("rouge",)) -> Comparison:
    """Arms with one value in every figure: 40 for the base, more for the others by their difference."""
    cells = [
        Cell(arm, metric, {0: 40.0}, Interval(40.0 + (d.interval.mean if d else 0.0), 39.0, 43.0), d)
        for metric in metrics
        for arm, d in differences.items()
    ]
    return Comparison(
        name="trial",
        base="base",
        level=0.95,
        arms=[ArmInfo(name, {}, [0, 1]) for name in differences],
        metrics=[MetricInfo(name, True) for name in metrics],
        cells=cells,
        compute=[],
        progress=Progress([], {}),
        checks=[],
        open_questions=[],
        warnings=[],
    )


def difference(verdict: Any, mean: float = 1.5) -> Difference:
    return Difference(Interval(mean, mean - 0.5, mean + 0.5), 0.01, 0.02, verdict, "because")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (2.0, "2.000"),
        (1.23456, "1.235"),
        (41.256, "41.26"),
        (-0.5, "−0.5000"),
        (12345.6, "12,346"),
        (0.00001234, "1.23e−05"),
        (float("nan"), "not a number"),
        (float("-inf"), "−∞"),
        (None, "–"),
    ],
)
def test_number(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (Interval(41.2345, 40.8, 41.7), "41.23 [40.80, 41.70]"),
        (Interval(1234.5, 1200.0, 1270.0), "1,234 [1,200, 1,270]"),
        (Interval(-0.00123, -0.002, -0.0004), "−0.00123 [−0.00200, −0.00040]"),
        (Interval(2.5), "2.500"),
        (Interval(3.0, 3.0, 3.0), "3.000 [3.000, 3.000]"),
        (Interval(-18.0, -36.0, -0.05), "−18.0 [−36.0, −0.1]"),
        (Interval(-18.0, -36.0, 0.0), "−18 [−36, 0]"),
    ],
)
def test_an_interval_has_as_many_digits_as_it_deserves(interval: Interval, text: str) -> None:
    assert with_spread(interval) == text


def test_signs_of_differences() -> None:
    assert with_spread(Interval(0.5, -0.5, 1.5), sign=True) == "+0.5 [−0.5, +1.5]"
    assert signed(0.0) == "0"
    assert signed(0.0004, 2) == signed(-0.0004, 2) == "0.00"
    assert spread(Interval(1.0)) == ""
    assert with_spread(Interval(1.558), decimals=0) == "1.56"


def test_cells_of_one_figure_line_up() -> None:
    made = comparison({"base": None, "other": difference("better")})
    assert decimals_for(made, "rouge") == 1
    assert decimals_for(made, "nothing measured") is None


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (count, 60, "60"),
        (count, 61_440.0, "61,440"),
        (count, 1.5, "1.5"),
        (count, 245_760, "246 k"),
        (count, 3.1e15, "3.1 P"),
        (count, float("nan"), "–"),
        (count, None, "–"),
        (duration, 38.25, "38.2 s"),
        (duration, 200, "3 min 20 s"),
        (duration, 7500, "2 h 05 min"),
        (memory, 3 * 2**30, "3 GiB"),
        (memory, 300 * 2**20, "300 MiB"),
        (p_value, 0.0004, "< 0.001"),
        (p_value, 0.0234, "0.023"),
        (p_value, None, "–"),
    ],
)
def test_quantities(function: Any, value: Any, text: str) -> None:
    assert function(value) == text


def test_settings_in_one_line() -> None:
    assert plain({"a": None, "b": [True, 2e-05]}) == "{a: null, b: [true, 2e-05]}"
    assert flat({"data": {"train": {"rows": 2}}, "git": "abc", "none": {}}) == [
        ("data.train.rows", "2"),
        ("git", "abc"),
        ("none", "{}"),
    ]
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"


def test_the_summary_says_better_worse_and_not_shown_with_numbers() -> None:
    found = {"base": None, "good": difference("better"), "bad": difference("worse", -1.5)}
    found |= {"same": difference("no difference shown", 0.1)}
    assert summary(comparison(found)) == [
        ("good", "is better than base in rouge (41.5 against 40.0; +1.5 [+1.0, +2.0])."),
        ("bad", "is worse than base in rouge (38.5 against 40.0; −1.5 [−2.0, −1.0])."),
        ("same", "is not shown to differ from base in rouge (+0.1 [−0.4, +0.6])."),
    ]


def test_the_summary_counts_what_it_does_not_name() -> None:
    metrics = tuple("abcdef")
    [(_, long)] = summary(comparison({"base": None, "arm": difference("better")}, metrics))
    assert long.count("against") == 3
    assert "and 3 more figures" in long
    many = {"base": None, **{f"arm{i}": difference("better") for i in range(5)}}
    assert all(
        text.count("against") == 1 and "5 more figures" in text for _, text in summary(comparison(many, metrics))
    )


def test_the_summary_of_what_cannot_be_judged_claims_nothing() -> None:
    undecided = Difference(Interval(1.5), None, None, "not decidable", "one seed")
    [(_, text)] = summary(comparison({"base": None, "arm": undecided}))
    assert text == "cannot be judged in rouge."


def test_one_arm_is_compared_with_nothing() -> None:
    made = comparison({"base": None})
    [(arm, text)] = summary(made)
    assert (arm, text) == ("base", "is the only arm, so nothing is compared: rouge 40.0 [39.0, 43.0].")
    assert setting(made) == "1 arm, 2 seeds (0, 1)"
