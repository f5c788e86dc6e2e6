"""The front of evaluations that none beats, and what a gain costs in words."""

from __future__ import annotations

from curricle.experts.search.evaluations import Evaluation
from curricle.experts.search.pareto import costs, front


def one(law: float, news: float, weights: tuple[float, float] = (0.0, 0.0)) -> Evaluation:
    named = dict(zip(("law", "news"), weights, strict=True))
    return Evaluation(named, {"law": law, "news": news}, (law + news) / 2, 0.1)


def test_the_front_is_what_nobody_beats() -> None:
    points = [one(3, 3), one(2, 4), one(4, 2), one(3, 4), one(5, 2), one(2.5, 2.5)]
    assert front(points) == [points[1], points[2], points[5]]


def test_of_equal_ones_the_first_stays() -> None:
    twice = [one(2, 2, (0.1, 0.0)), one(2, 2, (0.9, 0.0))]
    assert front(twice) == twice[:1]


def test_the_front_of_one_domain_is_its_best() -> None:
    points = [Evaluation({"a": 0.0}, {"x": loss}, loss, 0.0) for loss in (3.0, 1.0, 2.0)]
    assert front(points) == [points[1]]


def test_what_a_gain_costs_in_words() -> None:
    best = one(2.5, 2.5, (0.4, 0.5))
    other = one(2.4, 2.75, (0.9, 0.5))
    third = one(2.9, 2.3, (0.1, 0.6))
    assert costs(best, [best, other, third]) == [
        "raising law from 0.40 to 0.90 gains law 0.1000 nats a token and costs news 0.2500",
        "lowering law from 0.40 to 0.10, the other weights with it, gains news 0.2000 nats a token and costs law "
        "0.4000",
    ]


def test_nothing_is_said_where_one_mixture_is_best_for_all_or_nearly() -> None:
    best = one(2.0, 2.0, (0.4, 0.0))
    assert costs(best, [best]) == []
    assert costs(best, [best, one(1.9999, 2.5, (0.5, 0.0))]) == []
