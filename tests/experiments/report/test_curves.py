"""Scales, ticks and labels of the charts; that what is drawn is whole XML and lies within its frame."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from curricle.experiments.report.curves import (
    DASHES,
    MARKERS,
    NARROW,
    NUM_COLOURS,
    WIDE,
    Axis,
    Drawing,
    Line,
    Range,
    Row,
    Scale,
    Size,
    colour,
    dash,
    draw,
    draw_panel,
    frame,
    log_ticks,
    nice_ticks,
    shortened,
    spaced,
    text_width,
    tick_texts,
)

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (0.013, 0.044, [0.02, 0.03, 0.04]),
        (-3, 3, [-2, 0, 2]),
        (1.93, 2.01, [1.94, 1.96, 1.98, 2.0]),
    ],
)
def test_ticks_are_round_and_within(low: float, high: float, ticks: list[float]) -> None:
    assert np.allclose(nice_ticks(low, high), ticks)


def test_ticks_stay_few_whatever_the_range() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        low = rng.normal() * 10 ** rng.uniform(-6, 6)
        high = low + 10 ** rng.uniform(-6, 6)
        ticks = nice_ticks(low, high)
        assert 1 <= len(ticks) <= 6
        assert all(low - 1e-6 * (high - low) <= tick <= high + 1e-6 * (high - low) for tick in ticks)


def test_ticks_of_a_logarithmic_scale() -> None:
    assert np.allclose(log_ticks(0.3, 12), [0.5, 1, 2, 5, 10])
    assert np.allclose(log_ticks(1e-3, 1e3), [1e-3, 1e-2, 0.1, 1, 10, 100, 1e3])


@pytest.mark.parametrize(
    ("ticks", "texts"),
    [
        ([0, 0.5, 1], ["0.0", "0.5", "1.0"]),
        ([-2, 0, 2], ["−2", "0", "2"]),
        ([0, 2e6, 4e6], ["0", "2M", "4M"]),
        ([20_000, 40_000], ["20k", "40k"]),
        ([1e9, 1.5e9], ["1.0G", "1.5G"]),
        ([1e-8, 2e-8], ["1e−08", "2e−08"]),
    ],
)
def test_tick_texts_tell_neighbours_apart(ticks: list[float], texts: list[str]) -> None:
    assert tick_texts(ticks) == texts


@pytest.mark.parametrize("log", [False, True])
def test_a_scale_meets_its_ends(log: bool) -> None:
    scale = Scale(0.1, 1000, 10, 110, log)
    assert scale(0.1) == pytest.approx(10)
    assert scale(1000) == pytest.approx(110)
    assert scale(10) == pytest.approx(60 if log else 10 + 9.9 / 999.9 * 100)


@pytest.mark.parametrize(("values", "log"), [([2.0, 2.0], False), ([0.0], False), ([5.0], True), ([1.0, 9.0], True)])
def test_a_frame_is_never_empty(values: list[float], log: bool) -> None:
    low, high = frame(values, log)
    assert low < min(values) <= max(values) < high
    assert math.isfinite(Scale(low, high, 0, 100, log)(values[0]))


def test_labels_never_overlap_and_keep_their_order() -> None:
    rng = np.random.default_rng(1)
    for num in range(1, 12):
        wanted = rng.uniform(0, 200, num).tolist()
        places = spaced(wanted, 15, 0, 200)
        assert np.argsort(places, kind="stable").tolist() == np.argsort(wanted, kind="stable").tolist()
        assert (np.diff(sorted(places)) >= 15 - 1e-9).all()
        assert all(-1e-9 <= place <= 200 + 1e-9 for place in places)
    assert spaced([50, 100], 15, 0, 200) == [50, 100]


def test_long_names_are_shortened_by_their_width() -> None:
    assert shortened("curriculum", 200) == "curriculum"
    short = shortened("a-very-long-arm-name-of-somebody", 80)
    assert short.endswith("…")
    assert text_width(short) <= 80
    assert text_width("요약") > 1.5 * text_width("ab")


def test_arms_are_told_apart_without_colour() -> None:
    looks = [(dash(arm), MARKERS[arm % len(MARKERS)]) for arm in range(math.lcm(len(DASHES), len(MARKERS)))]
    assert len(set(looks)) == len(looks)
    assert {colour(arm) for arm in range(40)} == {f"c{i}" for i in range(NUM_COLOURS)}
    assert [arm for arm in range(40) if colour(arm) == "c0"] == [0]


def numbers_of(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path)]


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=lambda size: size.name)
@pytest.mark.parametrize("log", [False, True])
def test_a_chart_is_whole_and_lies_within_its_frame(size: Size, log: bool) -> None:
    lines = [Line([(i * 1000.0, 5.0 / (i + 1)) for i in range(50)], arm) for arm in range(3)]
    lines += [Line(line.points, line.arm, f"arm <{line.arm}> & more") for line in lines]
    drawing = Drawing("Loss", "By tokens.", Axis("tokens"), Axis("loss", log), lines, marks=[1000.0, 1e9])
    svg = ElementTree.fromstring(draw(drawing, size, "chart").replace("<svg", f'<svg xmlns="{SVG[1:-1]}"', 1))
    assert svg.get("role") == "img"
    assert svg.find(f"{SVG}title").text == "Loss"
    _, _, width, height = map(float, svg.get("viewBox", "").split())
    drawn = [path for path in svg.iter(f"{SVG}path") if path.get("class") in ("line", "thin")]
    assert len(drawn) == 6
    points = [point for path in drawn for point in numbers_of(path.get("d", ""))]
    assert len(points) == 300
    assert all(0 <= x <= width and 0 <= y <= height for x, y in points)
    labels = [text.text for text in svg.iter(f"{SVG}text") if text.get("class") == "tag"]
    assert len(labels) == 3
    assert all(label.startswith("arm <") for label in labels)
    assert len([path for path in svg.iter(f"{SVG}path") if path.get("class") == "mark"]) == 1  # the other is outside


def test_intervals_at_marks_stand_side_by_side() -> None:
    ranges = [
        Range(mark, 2.0 + arm, 1.9 + arm, 2.1 + arm if arm else None, arm) for mark in (10.0, 20.0) for arm in (0, 1)
    ]
    drawing = Drawing("Marks", "", Axis("tokens"), Axis("loss"), ranges=ranges, names={0: "a", 1: "b"})
    svg = ElementTree.fromstring(draw(drawing, WIDE, "marks"))
    assert len([path for path in svg.iter("path") if path.get("class") == "stem"]) == 2  # an arm has no interval
    assert [text.text for text in svg.iter("text") if text.get("class") == "tag"] == ["a", "b"]


def test_a_panel_shows_zero_and_every_seed() -> None:
    rows = [
        Row("curriculum", "+1.4 better", (1.4, 0.6, 2.2), [1.0, 1.4, 1.8], 1),
        Row("anti", "−1", (-1.0, None, None), [-1.0], 2),
    ]
    svg = ElementTree.fromstring(draw_panel("rouge", rows, True, "less base", "panel"))
    kinds = [path.get("class") for path in svg.iter("path")]
    assert kinds.count("zero") == 1
    assert kinds.count("seed") == 4
    assert kinds.count("stem") == 1
    assert "curriculum: +1.4 better; anti: −1" in (svg.findtext("desc") or "")
